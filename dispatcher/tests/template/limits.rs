//! No template and no event makes the dispatcher panic, hang or fill its memory.

use std::fmt::Write as _;

use dispatcher::template::{Template, parse_documents};
use serde_json::json;

fn render(source: &str) -> Result<String, String> {
    let event = json!({"CloudEvent": {"data": {"name": "x", "users": [{"name": "a"}]}}});
    let template = Template::parse("t", source).map_err(|error| error.to_string())?;
    template.render_documents(&event).map_err(|error| error.to_string())?;
    template.render_text(&event).map_err(|error| error.to_string())
}

#[test]
fn unbalanced_blocks_are_refused() {
    for source in
        ["a{{end}}b", "{{else}}", "{{if true}}a", "{{range 3}}{{if .}}x{{end}}", "{{define \"x\"}}", "{{"]
    {
        assert!(render(source).is_err(), "{source:?}");
    }
}

#[test]
fn deep_and_long_templates_are_refused_without_a_panic() {
    let chain = format!("{{{{if .x}}}}a{}{{{{end}}}}", "{{else if .y}}b".repeat(4_000));
    assert!(render(&chain).unwrap_err().contains("else-if"));
    let nested = format!("{}x{}", "{{if true}}".repeat(4_000), "{{end}}".repeat(4_000));
    assert!(render(&nested).is_err());
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(4_000), ")".repeat(4_000));
    assert!(render(&parentheses).is_err());
    let chained = format!("{{{{ 1 {} }}}}", "| add 1 ".repeat(4_000));
    assert_eq!(render(&chained).unwrap(), "4001");
    let fields = format!("{{{{ .a{} }}}}", ".a".repeat(50_000));
    assert!(render(&fields).is_err());
}

#[test]
fn endless_work_is_stopped() {
    for source in [
        "{{define \"a\"}}{{template \"a\" .}}{{end}}{{template \"a\" .}}",
        "{{range 2000000000}}{{end}}",
        "{{range 100000}}{{range 100000}}x{{end}}{{end}}",
        "{{range until 100000000}}x{{end}}",
        "{{repeat 2000000000 \"x\"}}",
        "{{indent 1000000000 \"x\"}}",
        "{{printf \"%1000000000d\" 1}}",
        "{{printf \"%*d\" 1000000000 1}}",
        "{{$x := \"xxxxxxxxxx\"}}{{range 100}}{{$x = print $x $x}}{{end}}{{$x}}",
        "{{$x := list 1}}{{range 100}}{{$x = list $x $x}}{{end}}{{$x}}",
        "{{$x := list 1}}{{range 100}}{{$x = list $x $x}}{{end}}{{deepEqual $x (deepCopy $x)}}",
        "{{$x := list 1}}{{range 100000}}{{$x = list $x}}{{end}}{{$x}}",
        "{{$x := list}}{{range 100000}}{{$x = append $x 1}}{{end}}{{len $x}}",
        "{{replace \"\" (repeat 1000000 \"y\") (repeat 1000000 \"x\")}}",
        "{{$d := dict}}{{$_ := set $d \"d\" $d}}{{$d}}",
        "{{regexReplaceAll \"(.*)\" (repeat 1000000 \"x\") (repeat 1000 \"$1\")}}",
        "{{regexMatch \"(a{1000}){1000}\" \"a\" | fail}}",
        "{{wrapWith 1 (repeat 1000000 \"y\") (repeat 1000000 \"x\")}}",
        "{{randAlpha 1000000000}}",
    ] {
        assert!(render(source).is_err(), "{source:?}");
    }
}

#[test]
fn values_nested_from_outside_in_are_dropped_without_a_panic() {
    let source = "{{$root := dict}}{{$in := $root}}{{range 50000}}{{$new := dict}}{{$_ := set $in \"x\" $new}}\
                  {{$in = $new}}{{end}}ok";
    assert_eq!(render(source).unwrap(), "ok");
}

#[test]
fn yaml_bombs_are_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..20 {
        let last = format!("*a{},", level - 1).repeat(9);
        let _ = writeln!(bomb, "a{level}: &a{level} [{last}]");
    }
    assert!(parse_documents(&bomb).is_err());
    assert!(parse_documents(&"[".repeat(100_000)).is_err());
    assert!(parse_documents(&"a: 1\n---\n".repeat(2_000)).is_err());
}

#[test]
fn every_prefix_of_a_template_parses_or_fails_cleanly() {
    let source = "a: {{ range $i, $u := .CloudEvent.data.users }}{{- if eq $u.name \"é\\n\" -}}{{ $u.name | quote }}\
                  {{ else if (index $u `name`) }}{{ template \"t\" 'x' }}{{/* c */}}{{end}}{{end}}{{define \"t\"}}1{{end}}";
    for (end, _) in source.char_indices() {
        let _ = render(&source[..end]);
        let _ = render(&source[end..]);
    }
}
