//! From a kernel path to none, with connections running.

use lb_tests::server::Protocol;
use lb_tests::{Daemon, Lab, client, skip, wait};

use crate::kernel::kernel_takes_over;
use crate::setup::{accepted_in_userspace, held, servers, service, tcp};

#[test]
fn a_start_without_kernel_path_lets_an_earlier_ones_flows_end() {
    if skip::without_lb() {
        return;
    }
    let lab = Lab::builder().build().unwrap();
    let _servers = servers(&lab, Protocol::Echo);
    let body = tcp(&lab, "roundrobin", &[]);
    let mut daemon = Daemon::builder(&lab, &body).start().unwrap();
    kernel_takes_over(&lab, &daemon);
    let mut held = held(&lab, 5);
    daemon.kill();
    daemon.change_fast_path("attach: off", &body).unwrap();
    daemon.start().unwrap();
    wait::until_true("new connections to go to userspace", || {
        let before = accepted_in_userspace(&lab);
        client::connect(lab.client(), service(&lab), None).is_ok()
            && accepted_in_userspace(&lab) > before
    })
    .unwrap();
    for stream in &mut held {
        client::echo(stream, b"still there?").unwrap();
    }
    assert!(
        daemon.pin_path().is_dir(),
        "the kernel path stays for its flows"
    );
    drop(held);
    wait::until_true("the kernel path is gone with its last flow", || {
        !daemon.pin_path().exists()
    })
    .unwrap();
    client::connect(lab.client(), service(&lab), None).unwrap();
}
