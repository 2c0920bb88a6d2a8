//! The pages in a real browser.
//!
//! With `PAGE_SCREENSHOTS` set to a folder, pictures of every page are written there: light, dark, and as on a phone.

use std::path::PathBuf;

use serde_json::json;
use tests::browser::Browser;
use tests::wait;

use crate::system::{LIMIT, System, registration, shipped_events};

const TOKEN: &str = "the-admin-token";

/// Finds every text whose contrast with its background is too small for WCAG AA.
const CONTRAST: &str = r#"
const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
const pen = canvas.getContext("2d", { willReadFrequently: true });
const rgba = (color) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = color; pen.fillRect(0, 0, 1, 1); return Array.from(pen.getImageData(0, 0, 1, 1).data); };
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] / 255 + below[i] * (1 - top[3] / 255)).concat(255);
const ground = (element) => {
  if (!element) return rgba(getComputedStyle(document.body).backgroundColor);
  const style = getComputedStyle(element);
  if (element instanceof SVGElement && element.tagName === "g" && element.querySelector(":scope > .card")) {
    const fill = getComputedStyle(element.querySelector(":scope > .card")).fill;
    if (fill !== "none") return rgba(fill);
  }
  const own = rgba(style.backgroundColor);
  return own[3] === 255 ? own : own[3] === 0 ? ground(element.parentElement) : over(own, ground(element.parentElement));
};
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.parentElement;
  if (!node.textContent.trim() || ["SCRIPT", "STYLE", "title", "OPTION"].includes(element.tagName) || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(over(ink, ground(element))), light(ground(element))].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && parseInt(style.fontWeight) >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${element.tagName}.${element.getAttribute("class") || ""}: ${node.textContent.trim().slice(0, 40)}`);
}
return poor;
"#;

/// Finds every part of a graphic whose contrast with its neighbours is too small (WCAG 1.4.11).
const GRAPHICS: &str = r#"
const canvas = document.createElement("canvas"); canvas.width = canvas.height = 1;
const pen = canvas.getContext("2d", { willReadFrequently: true });
const light = (color, opacity, below) => {
  pen.globalAlpha = 1; pen.fillStyle = below; pen.fillRect(0, 0, 1, 1);
  pen.globalAlpha = opacity; pen.fillStyle = color; pen.fillRect(0, 0, 1, 1);
  return Array.from(pen.getImageData(0, 0, 1, 1).data).slice(0, 3).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
};
const ground = getComputedStyle(document.body).backgroundColor;
const poor = [];
for (const part of document.querySelectorAll(".bar rect")) {
  const style = getComputedStyle(part);
  const [a, b] = [light(style.fill, style.opacity, ground), light(ground, 1, ground)].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 3) poor.push(part.getAttribute("class"));
  // Parts next to each other are told apart by their height.
  const next = part.nextElementSibling;
  if (next && Number(next.getAttribute("height")) < 1.5 * Number(part.getAttribute("height"))) poor.push("height of " + next.getAttribute("class"));
}
return poor;
"#;

struct Ground {
    system: System,
    dispatcher: crate::system::Dispatcher,
    browser: Browser,
}

impl Ground {
    fn start() -> Self {
        let system = System::start();
        let program = tests::program::Program::dispatcher()
            .settings(system.nats.settings())
            .settings(system.database.settings())
            .set("ADMIN_TOKEN", TOKEN);
        let dispatcher = crate::system::start_dispatcher(
            program,
            &system.scratch,
            &system.secret(),
            &shipped_events(),
            "state",
        );
        Self { system, dispatcher, browser: Browser::start() }
    }

    fn open(&self, path: &str) {
        self.browser.open(&format!("http://127.0.0.1:{}{path}", self.dispatcher.port));
    }

    fn log_in(&self, next: &str) {
        self.open(&format!("/login?next={next}"));
        self.browser.fill("input[name=name]", "Ann Operator");
        self.browser.fill("input[name=token]", TOKEN);
        self.browser.click("main button");
        self.browser.until_text(".who", "Ann Operator");
    }

    /// A registration that can never succeed.
    fn publish_hopeless(&self, name: &str) {
        let mut event = registration(name);
        event["data"]["subscription_tier"] = json!("platinum");
        self.system.publish(&event);
    }

    fn until_stuck(&self, count: usize) {
        wait::until(LIMIT, "customers are stuck", || {
            (self.system.database.count("job_runs WHERE state = 'failed'") >= count).then_some(())
        });
    }

    fn press(&self, key: &str, code: u32) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let key =
                json!({"type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code});
            self.browser.command("Input.dispatchKeyEvent", &key);
        }
    }

    /// Presses Tab until an element of this selector has the focus.
    fn tab_to(&self, selector: &str) {
        let there = format!("return document.activeElement.matches({selector:?})");
        for _ in 0..60 {
            if self.browser.script(&there) == json!(true) {
                return;
            }
            self.press("Tab", 9);
        }
        panic!("no Tab leads to {selector}");
    }

    fn focused(&self) -> serde_json::Value {
        self.browser.script("return document.activeElement.id")
    }

    /// At a point without any element that reacts.
    fn move_pointer_away(&self) {
        self.browser.command("Input.dispatchMouseEvent", &json!({"type": "mouseMoved", "x": 1, "y": 1}));
    }

    fn check_no_complaints(&self) {
        assert_eq!(self.browser.complaints(), Vec::<String>::new(), "at {}", self.browser.address());
    }
}

#[test]
fn a_page_changes_by_itself_when_something_happens() {
    let ground = Ground::start();
    ground.open("/");
    ground.browser.until_text("#live", "Live");
    ground.browser.until_text("[data-part=attention]", "Nobody is stuck");
    ground.browser.script("window.untouched = true");
    ground.publish_hopeless("<script>document.title = 'owned'</script>");
    ground.browser.until_text("[data-part=attention]", "<script>document.title = 'owned'</script>");
    ground.browser.until_text("[data-part=navigation] .badge", "1");
    assert_eq!(
        ground.browser.script("return window.untouched"),
        json!(true),
        "the page was not loaded again"
    );
    assert_eq!(ground.browser.script("return document.title"), json!("Flow · Onboarding"));
    ground.check_no_complaints();
}

#[test]
fn an_operator_replays_by_a_click_with_scripts_and_without() {
    let ground = Ground::start();
    ground.publish_hopeless("Platinum Ltd");
    ground.until_stuck(1);
    ground.system.until_dead_letters(1);
    for (round, scripts) in [(1, true), (2, false)] {
        ground.browser.scripts(scripts);
        ground.log_in("/dead-letters");
        ground.browser.until_text("[data-part=letters]", "SUBSCRIPTION_TIER is not one of");
        ground.browser.click("button[value=replay]");
        ground.browser.until_text(".note.good", "1 dead letter replayed.");
        // It fails again, as it must: with another number, and one more replay.
        wait::until(LIMIT, "the replay is a dead letter again", || {
            let letters = ground.system.dead_letters();
            letters.iter().any(|letter| letter["replay"] == round).then_some(())
        });
        ground.browser.until_text("[data-part=acts]", "Ann Operator");
        ground.browser.click(".who button");
        ground.browser.until_text(".who", "Log in");
    }
    let recorded =
        "operator_actions WHERE operator = 'Ann Operator' AND action = 'replay' AND outcome = 'done'";
    assert_eq!(ground.system.database.count(recorded), 2);
    ground.browser.scripts(false);
    ground.open("/customers");
    ground.browser.fill("input[name=q]", "pLaTiNuM");
    ground.browser.click("main button");
    ground.browser.until_text("[data-part=customers]", "Platinum Ltd");
    assert!(ground.browser.address().contains("q=pLaTiNuM"));
    ground.check_no_complaints();
}

#[test]
fn every_page_is_readable_in_light_and_dark_on_a_desk_and_on_a_phone() {
    let ground = Ground::start();
    let names = [
        "Harbour & Sons",
        "Nordlys Kaffe",
        "Quay Analytics",
        "Ole's Cykler",
        "Blåbær Bageri",
        "Fjord Freight",
        "Amber Field Studio",
        "Tallgrass Dental",
        "Kestrel Robotics",
        "Lantern Books",
    ];
    for name in names {
        ground.system.publish(&registration(name));
    }
    ground.publish_hopeless("<script>alert('Acme')</script>");
    ground.publish_hopeless("Mountain View Cheese Cooperative of the Upper Valley, Inc.");
    ground.system.nats.publish("customer-saved", &json!({"not": "a CloudEvent"}));
    ground.system.until_onboarded(names.len());
    ground.until_stuck(2);
    ground.system.until_dead_letters(3);
    let onboarded = ground
        .system
        .database
        .text("SELECT id FROM customers WHERE onboarded_at IS NOT NULL ORDER BY name LIMIT 1");
    let stuck = ground
        .system
        .database
        .text("SELECT flow_key FROM job_runs WHERE state = 'failed' ORDER BY flow_name LIMIT 1");
    ground.log_in("/");
    let run = ground
        .system
        .database
        .text(&format!("SELECT id FROM job_runs WHERE flow_key = '{onboarded}' LIMIT 1"));
    let (done, stuck) = (format!("/customers/{onboarded}"), format!("/customers/{stuck}"));
    let logs = format!("/runs/{run}/logs");
    let number = ground.system.dead_letters()[0]["number"].to_string();
    let letter = format!("/dead-letters/{number}");
    let pages = [
        ("flow", "/"),
        ("customers", "/customers"),
        ("nobody", "/customers?q=nobody"),
        ("onboarded", &done),
        ("stuck", &stuck),
        ("dead-letters", "/dead-letters"),
        ("letter", &letter),
        ("drop", "drop"),
        ("triggers", "/triggers"),
        ("login", "/login"),
        ("logs", &logs),
    ];
    let folder = std::env::var_os("PAGE_SCREENSHOTS")
        .map_or_else(|| ground.system.scratch.join("screenshots"), PathBuf::from);
    for (looks, scheme, width, height) in
        [("light", "light", 1280, 900), ("dark", "dark", 1280, 900), ("phone", "light", 390, 844)]
    {
        ground.browser.scheme(scheme);
        ground.browser.size(width, height);
        for (name, path) in pages {
            if path == "drop" {
                ground.open("/dead-letters");
                ground.browser.click("button[value=drop]");
            } else {
                ground.open(path);
            }
            let wide = ground.browser.script("return document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().is_some_and(|wide| wide <= u64::from(width)),
                "{name} is {wide} wide ({looks})"
            );
            assert_eq!(ground.browser.script(CONTRAST), json!([]), "{name} ({looks})");
            assert_eq!(ground.browser.script(GRAPHICS), json!([]), "{name} ({looks})");
            ground.browser.picture(&folder.join(format!("{name}-{looks}.png")));
        }
    }
    ground.check_no_complaints();
    if let Some(path) = std::env::var_os("PAGE_SCREENSHOT_OF_THE_DOCS") {
        ground.browser.scheme("light");
        ground.browser.size(1280, 900);
        ground.open("/");
        ground.browser.picture(&PathBuf::from(path));
    }
}

#[test]
fn the_keyboard_reaches_the_content_first() {
    let ground = Ground::start();
    ground.open("/");
    let focused = || ground.browser.script("return document.activeElement.textContent.trim()");
    ground.press("Tab", 9);
    assert_eq!(focused(), json!("Skip to the content"));
    ground.press("Tab", 9);
    assert_eq!(focused(), json!("Onboarding"));
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(ground.browser.script(outline), json!("solid"));
}

#[test]
fn the_keyboard_replays_the_letter_that_it_has_reached_whatever_comes_meanwhile() {
    let ground = Ground::start();
    ground.publish_hopeless("First Ltd");
    ground.publish_hopeless("Second Ltd");
    ground.until_stuck(2);
    let numbers: Vec<_> =
        ground.system.until_dead_letters(2).iter().map(|letter| letter["number"].to_string()).collect();
    ground.log_in("/dead-letters");
    ground.move_pointer_away();
    ground.browser.until_text("#live", "Live");
    let second = format!("replay-{}", numbers[1]);
    ground.tab_to(&format!("#{second}"));
    // The first one leaves and a third one comes while the pointer is on the button.
    ground.system.command(&["dead-letters", "drop", &numbers[0]]).run_to(0);
    ground.publish_hopeless("Third Ltd");
    ground.until_stuck(2);
    ground.browser.until_text("[data-part=acts]", &format!("drop no. {}", numbers[0]));
    assert_eq!(ground.focused(), json!(second));
    assert!(
        ground.browser.text("[data-part=letters]").contains(&format!("no. {}", numbers[0])),
        "it is held"
    );
    ground.press("Enter", 13);
    ground.browser.until_text(".note.good", "1 dead letter replayed.");
    let acts = format!("operator_actions WHERE action = 'replay' AND dead_letter = {}", numbers[1]);
    assert_eq!(ground.system.database.count(&acts), 1);
    ground.check_no_complaints();
}

#[test]
fn a_list_that_was_held_is_up_to_date_once_the_focus_leaves_and_other_focus_stays_where_it_was() {
    let ground = Ground::start();
    ground.publish_hopeless("First Ltd");
    ground.until_stuck(1);
    ground.system.until_dead_letters(1);
    ground.log_in("/dead-letters");
    ground.move_pointer_away();
    ground.browser.until_text("#live", "Live");
    ground.tab_to("[data-part=letters] button[value=drop]");
    ground.publish_hopeless("Second Ltd");
    ground.browser.until_text("[data-part=navigation] .badge", "2");
    let held = "return document.querySelectorAll('[data-part=letters] li').length";
    assert_eq!(ground.browser.script(held), json!(1));
    ground.browser.script("document.querySelector('[data-part=navigation] a[href=\"/customers\"]').focus()");
    wait::until(LIMIT, "the list is up to date", || (ground.browser.script(held) == json!(2)).then_some(()));
    ground.publish_hopeless("Third Ltd");
    ground.browser.until_text("[data-part=navigation] .badge", "3");
    let place = ground.browser.script("return document.activeElement.getAttribute('href')");
    assert_eq!(place, json!("/customers"), "the navigation was replaced under the focus");
    ground.check_no_complaints();
}

#[test]
fn a_drop_is_confirmed_without_scripts_and_its_customer_is_stuck_no_more() {
    let ground = Ground::start();
    ground.publish_hopeless("Platinum Ltd");
    ground.until_stuck(1);
    ground.system.until_dead_letters(1);
    ground.browser.scripts(false);
    ground.log_in("/dead-letters");
    ground.browser.click("button[value=drop]");
    ground.browser.until_text("h1", "Drop this event for good?");
    assert_eq!(ground.system.dead_letters().len(), 1);
    ground.browser.click("main button.danger");
    ground.browser.until_text(".note.good", "1 dead letter dropped.");
    assert_eq!(ground.system.dead_letters().len(), 0);
    ground.open("/customers");
    ground.browser.until_text("[data-part=customers]", "given up");
    ground.check_no_complaints();
}
