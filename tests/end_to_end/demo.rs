//! The demo: the whole flow with nothing installed, on a terminal and without one.

use tests::program::{Program, Running};
use tests::scratch::Scratch;
use tests::{http, wait};

use crate::system::{LIMIT, shipped_events};

/// Runs the command after it on a terminal of its own, and presses Ctrl-C there when it gets SIGTERM.
const TERMINAL: &str = r#"
import os, pty, signal, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.write(terminal, b"\x03"))
try:
    while said := os.read(terminal, 4096):
        os.write(1, said)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

fn demo(program: Program, scratch: &Scratch) -> Program {
    let program = program.argument("demo").argument("--events").argument(shipped_events());
    program.argument("--folder").argument(scratch.join("demo"))
}

fn on_a_terminal(scratch: &Scratch) -> Program {
    let path = std::env::var("PATH").unwrap();
    demo(Program::demo(), scratch).behind(&["python3", "-c", TERMINAL]).set("PATH", &path)
}

/// Polls until it has printed this. Returns all output up to then.
fn until_said(running: &Running, text: &str) -> String {
    wait::until(LIMIT, &format!("the demo says {text:?}"), || {
        let said = running.process.output();
        said.contains(text).then_some(said)
    })
}

#[test]
fn the_demo_onboards_five_customers_from_nothing_and_ends() {
    // With the workers' programs next to the dispatcher, and with all of them in one program.
    for program in [Program::dispatcher(), Program::demo()] {
        let scratch = Scratch::new("demo");
        let ended = demo(program, &scratch).run_to(0);
        assert!(ended.output.contains("5 of 5 customers onboarded"), "{}", ended.output);
        assert!(ended.output.contains("peak memory"), "{}", ended.output);
        let files = |folder: &str| std::fs::read_dir(scratch.join("demo").join(folder)).unwrap().count();
        assert_eq!(files("mails"), 10);
        // Every fifth has no address yet.
        assert_eq!(files("orders"), 4);
        assert_eq!((files("marketing"), files("crm")), (5, 5));
    }
}

#[test]
fn on_a_terminal_the_demo_stays_until_ctrl_c() {
    let scratch = Scratch::new("demo");
    let running = on_a_terminal(&scratch).start();
    let said = until_said(&running, "until you press Ctrl-C");
    assert!(said.contains("5 of 5 customers onboarded"), "{said}");
    let page = said.split("The page stays at http://127.0.0.1:").nth(1).unwrap();
    let port = page.split('/').next().unwrap().parse().unwrap();
    assert_eq!(http::get(port, "/healthz").unwrap().status, 200);
    running.terminate().expect_code(0);
    assert_eq!(scratch.processes(), []);
}

#[test]
fn ctrl_c_in_the_middle_leaves_no_process() {
    for begun in ["page  ", "customer-registered", "user-saved", "marketing-notified"] {
        let scratch = Scratch::new("demo");
        let running = on_a_terminal(&scratch).argument("--customers").argument("200").start();
        if begun.starts_with("page") {
            until_said(&running, begun);
        } else {
            let jobs = scratch.join("demo/jobs/jobs");
            wait::until(LIMIT, &format!("a Job of {begun}"), || {
                let names = std::fs::read_dir(&jobs).ok()?.flatten();
                names.map(|file| file.file_name()).find(|name| name.to_string_lossy().contains(begun))
            });
        }
        running.terminate().expect_code(75);
        assert_eq!(scratch.processes(), [], "{begun}");
    }
}
