//! Who waits for a slot, and in which order they get one.

use std::sync::{Mutex, mpsc};

use super::{rules::Rules, *};

/// A server that answers with `name`: `/probe` at once, anything else once it is told to; and what it was asked for.
fn told(name: &'static str) -> (SocketAddr, mpsc::Sender<()>, Arc<Mutex<Vec<String>>>) {
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let asked = Arc::clone(&seen);
    let address = server(move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let target = head.split(' ').nth(1).unwrap_or_default();
            asked.lock().unwrap().push(target.to_owned());
            if !head.starts_with("GET /probe ") && told.lock().unwrap().recv().is_err() {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, tell, seen)
}

/// Asks for `path` as `user`; the answer comes later.
fn ask(harness: &Harness, path: &str, user: &str) -> TcpStream {
    let mut client = harness.connect();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    client
}

#[test]
fn who_waits_for_one_server_is_not_held_up_by_who_waits_for_another() {
    let ((a, tell_a, _), (b, tell_b, _)) = (told("a"), told("b"));
    let rules = Rules::new(
        &[a, b],
        "",
        "    balance: hdr(X-User)\n    default_server: { maxconn: 1 }\n    timeouts: { queue: 20s }\n",
    );
    let harness = &rules.harness;
    let users: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let of = |name: &str| {
        let of = |user: &&String| read_all(&mut ask(harness, "/probe", user)).ends_with(name);
        users.iter().find(of).unwrap()
    };
    let (user_a, user_b) = (of("a"), of("b"));
    let servers = &harness.shared.topology.backends[0].servers;
    wait_until("the slots are free", || {
        servers.iter().all(|server| server.active() == 0)
    });
    let mut first_a = ask(harness, "/", user_a);
    let mut first_b = ask(harness, "/", user_b);
    wait_until("the slots are taken", || {
        servers.iter().all(|server| server.active() == 1)
    });
    let mut second_a = ask(harness, "/", user_a);
    wait_until("one waits", || servers[0].queue.len() == 1);
    let mut second_b = ask(harness, "/", user_b);
    wait_until("another waits", || servers[1].queue.len() == 1);
    // The one that came later waits for another server, which is free now.
    tell_b.send(()).unwrap();
    assert!(read_all(&mut first_b).ends_with("\r\n\r\nb"));
    tell_b.send(()).unwrap();
    assert!(read_all(&mut second_b).ends_with("\r\n\r\nb"));
    tell_a.send(()).unwrap();
    assert!(read_all(&mut first_a).ends_with("\r\n\r\na"));
    tell_a.send(()).unwrap();
    assert!(read_all(&mut second_a).ends_with("\r\n\r\na"));
}

#[test]
fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    const CLIENTS: usize = 8;
    let (address, tell, seen) = told("x");
    let harness = Harness::new(&[address], |_, backend| {
        (backend.servers[0].maxconn, backend.timeouts.queue) = (Some(1), Duration::from_secs(20));
    });
    let backend = &harness.shared.topology.backends[0];
    let mut clients = vec![ask(&harness, "/0", "")];
    wait_until("the slot is taken", || backend.servers[0].active() == 1);
    for number in 1..CLIENTS {
        clients.push(ask(&harness, &format!("/{number}"), ""));
        wait_until("it waits", || backend.queue.len() as usize == number);
    }
    for _ in 0..CLIENTS {
        tell.send(()).unwrap();
    }
    for client in &mut clients {
        assert!(read_all(client).starts_with("HTTP/1.1 200 "));
    }
    drop(clients);
    let wanted: Vec<String> = (0..CLIENTS).map(|number| format!("/{number}")).collect();
    assert_eq!(*seen.lock().unwrap(), wanted);
    for line in harness.logged() {
        // Its place in the queue is the number that it has asked for.
        let number = line
            .split("GET /")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        assert!(
            line.contains(&format!(" 0/{} \"", number.unwrap())),
            "{line}"
        );
    }
}
