use std::time::{Duration, Instant};

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};

use super::{
    app::{App, Mode},
    ask::{Answer, Command},
    draw::{Theme, draw},
};
use crate::observe::{request::FlowRow, stats::fixture};

struct Screen {
    app: App,
    terminal: Terminal<TestBackend>,
    colour: bool,
}

impl Screen {
    fn new(width: u16, height: u16) -> Self {
        let mut app = App::new(String::new());
        let now = Instant::now();
        let mut snapshot = fixture::snapshot();
        app.take(Answer::Status(Ok(Box::new(snapshot.clone()))), now);
        // A second later.
        let row = &mut snapshot.backends[1].servers[0].row;
        row.stot = Some(1_500);
        row.bout = Some(2_500_000);
        let later = now + Duration::from_secs(1);
        app.take(Answer::Status(Ok(Box::new(snapshot))), later);
        let terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        Self {
            app,
            terminal,
            colour: true,
        }
    }

    fn keys(&mut self, keys: &str) -> Option<Command> {
        let mut last = None;
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                '\t' => KeyCode::Tab,
                c => KeyCode::Char(c),
            };
            last = self.app.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        last
    }

    fn painted(&mut self) -> String {
        let theme = Theme {
            colour: self.colour,
        };
        let app = &mut self.app;
        self.terminal
            .draw(|frame| draw(frame, app, theme))
            .expect("painted");
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width).max(1);
        let lines = buffer.content().chunks(width).map(|cells| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned() + "\n"
        });
        lines.collect()
    }

    fn has(&mut self, texts: &[&str]) {
        let painted = self.painted();
        for text in texts {
            let found = painted.lines().any(|line| {
                let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
                words.contains(text)
            });
            assert!(found, "{text:?} is missing in\n{painted}");
        }
    }

    fn position(&mut self, text: &str) -> Option<usize> {
        self.painted().lines().position(|line| line.contains(text))
    }
}

#[test]
fn all_is_seen_on_80_columns_and_24_lines() {
    let mut screen = Screen::new(80, 24);
    screen.has(&[
        "connections 0/30000 kernel flows 20/1000000 (0 %) 1 server down",
        "NAME STATE WGHT CUR RATE QUE IN/s OUT/s CHECK",
        "tcp-in OPEN 20 0 0 0 kernel",
        "- web UP 2 0 0 0 0 0 roundrobin",
        "w1 UP 1 0 1.5k 0 0 2.5M L7OK/200",
        "w2 DOWN 1",
        "w3 DRAIN",
        "q quit ? help / filter s sort f flows d drain r ready m maint w weight",
    ]);
}

#[test]
fn any_size_is_borne() {
    for (width, height) in [(0, 0), (1, 1), (10, 3), (79, 5), (200, 60)] {
        let mut screen = Screen::new(width, height);
        for keys in ["", "G", "?", "x/abc\n", "f", "f"] {
            screen.keys(keys);
            screen.painted();
        }
    }
    let mut screen = Screen::new(200, 30);
    screen.has(&["ERR/s RESP CHECK ADDRESS", "L7OK/200 192.0.2.11:8080"]);
}

#[test]
fn without_colours_there_are_none() {
    let mut screen = Screen::new(80, 24);
    let coloured = |screen: &mut Screen| {
        screen.painted();
        let buffer = screen.terminal.backend().buffer();
        buffer.content().iter().any(|cell| cell.fg != Color::Reset)
    };
    assert!(coloured(&mut screen));
    screen.colour = false;
    assert!(!coloured(&mut screen));
}

#[test]
fn a_server_is_drained_once_that_is_confirmed() {
    let mut screen = Screen::new(80, 24);
    assert_eq!(screen.keys("d"), None);
    screen.has(&["put the cursor on a server first"]);
    // Two frontends, a backend with two servers, another, its second.
    assert_eq!(screen.keys("jjjjjjjd"), None);
    screen.has(&["drain web/w2? [y/N]"]);
    assert_eq!(screen.keys("n"), None);
    screen.has(&["nothing was done"]);
    let command = screen.keys("my").expect("it is to be done");
    assert_eq!(
        (command.line.as_str(), command.text.as_str()),
        ("set server web/w2 state maint", "maint web/w2")
    );
    let now = Instant::now();
    screen
        .app
        .take(Answer::Done(command.clone(), Ok("\n".into())), now);
    screen.has(&["done: maint web/w2"]);
    let why = "No such server.".to_owned();
    screen.app.take(Answer::Done(command, Ok(why)), now);
    screen.has(&["maint web/w2: No such server."]);
    screen.keys("w5x0%");
    screen.has(&["weight of web/w2: 50%_"]);
    screen.keys("\n");
    screen.has(&["weigh web/w2 50%? [y/N]"]);
    let command = screen.keys("y").expect("it is to be done");
    assert_eq!(command.line, "set server web/w2 weight 50%");
}

#[test]
fn lines_are_filtered_folded_and_sorted() {
    let mut screen = Screen::new(80, 24);
    screen.keys("/W2");
    screen.has(&["filter: w2_", "- web UP", "w2 DOWN"]);
    assert_eq!(screen.position("tcp-in"), None);
    screen.keys("\n");
    screen.has(&["filter: w2"]);
    screen.keys("/\u{8}\u{8}zzz");
    screen.has(&["nothing has that in its name"]);
    screen.keys("\u{1b}/\u{8}\u{8}\n");
    screen.has(&["tcp-in", "w5"]);

    screen.keys("c");
    screen.has(&["+ web UP", "+ tcp_servers UP"]);
    assert_eq!(screen.position("w1 "), None);
    screen.keys("c");
    screen.keys("jjjjjjj ");
    screen.has(&["+ web UP", "- tcp_servers UP"]);
    screen.keys(" ");

    let order = |screen: &mut Screen| {
        ["w1 ", "w2 ", "w3 "].map(|name| screen.position(name).expect("it is shown"))
    };
    let [w1, w2, w3] = order(&mut screen);
    assert!(w1 < w2 && w2 < w3);
    screen.keys("ss");
    screen.has(&["by state"]);
    let [w1, w2, w3] = order(&mut screen);
    assert!(w2 < w3 && w3 < w1, "the worst first");
    screen.keys("S");
    screen.has(&["by state reversed"]);
    let [w1, w2, _] = order(&mut screen);
    assert!(w1 < w2);
}

#[test]
fn flows_are_seen_and_moved_through() {
    let mut screen = Screen::new(80, 24);
    screen.keys("\t");
    assert!(screen.app.wants_flows());
    screen.has(&["the kernel forwards no such flow"]);
    let now = Instant::now();
    let why = "There is no kernel path: mode http.".to_owned();
    screen.app.take(Answer::Flows(Err(why)), now);
    screen.has(&["There is no kernel path"]);
    let flow = |n: u16| FlowRow {
        protocol: "tcp".into(),
        client: format!("192.0.2.7:{}", 40_000 + n)
            .parse()
            .expect("an address"),
        service: "192.0.2.1:80".parse().expect("an address"),
        frontend: "fe".into(),
        backend: "be".into(),
        server: "s1".into(),
        state: "established".into(),
        half_open: false,
        age_ms: 61_000,
        idle_ms: 200,
        packets_in: 5,
        packets_out: 4,
        bytes_in: 100,
        bytes_out: 2_000_000,
    };
    screen
        .app
        .take(Answer::Flows(Ok((0..100).map(flow).collect())), now);
    screen.has(&["tcp 192.0.2.7:40000 be/s1 established 1m 100 2.0M"]);
    screen.keys("G");
    screen.has(&["192.0.2.7:40099"]);
    assert_eq!(screen.position("192.0.2.7:40000"), None);
    screen.keys("/40050\n");
    screen.has(&["192.0.2.7:40050"]);
    assert_eq!(screen.keys("d"), None);
    screen.has(&["put the cursor on a server first"]);
}

#[test]
fn what_cannot_be_asked_is_said_and_the_last_is_kept() {
    let mut screen = Screen::new(120, 24);
    let lost = Answer::Status(Err("no lb answers".into()));
    screen.app.take(lost, Instant::now());
    screen.has(&["no lb answers", "tcp-in OPEN"]);
}

#[test]
fn keys_that_end_it() {
    for keys in ["q", "\u{1b}"] {
        let mut screen = Screen::new(80, 24);
        screen.keys(keys);
        assert!(screen.app.is_done());
    }
    let mut screen = Screen::new(80, 24);
    screen.keys("?");
    assert_eq!(screen.app.mode, Mode::Help);
    screen.has(&["any key closes", "drain: no new connections but by cookie"]);
    screen.keys("q");
    assert!(!screen.app.is_done() && screen.app.mode == Mode::Look);
    let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    screen.keys("/");
    screen.app.key(quit);
    assert!(screen.app.is_done(), "whatever is being written");
}
