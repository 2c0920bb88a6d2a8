//! No template and no event makes the dispatcher panic, hang or fill its memory.

use std::fmt::Write as _;

use gotemplate::Template;
use kyaml::parse_documents;
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
    let source = "{{$root := dict}}{{$in := $root}}{{range 4500}}{{$new := dict}}{{$_ := set $in \"x\" $new}}\
                  {{$in = $new}}{{end}}ok";
    let template = Template::parse("t", source).unwrap();
    // Too small for as many calls inside each other.
    let small = std::thread::Builder::new().stack_size(256 << 10);
    let text = small.spawn(move || template.render_text(&json!({})).unwrap()).unwrap().join().unwrap();
    assert_eq!(text, "ok");
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
    let copies = format!("- &a {}\n{}", "x".repeat(100_000), "- *a\n".repeat(90));
    assert_eq!(
        parse_documents(&copies).unwrap_err().message,
        "the YAML is too large, too deep or has too many references"
    );
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

#[test]
fn values_are_paid_for_as_bytes_are_before_they_are_made() {
    for text in [
        r#"{{ $x := repeat 5000000 "x" | splitList "" }}"#,
        r#"{{ $x := repeat 5000000 "x" | split "" }}"#,
        r#"{{ $x := repeat 2500000 "x," | splitList "," }}"#,
        r#"{{ $x := regexFindAll "x" (repeat 5000000 "x") -1 }}"#,
        r#"{{ $x := regexSplit "," (repeat 2500000 "x,") -1 }}"#,
        r#"{{ $x := printf "[%s1]" (repeat 5000000 "1,") | fromJsonArray }}"#,
        "{{ $x := until 900000 | toStrings }}",
        "{{ $x := until 900000 | chunk 1 }}",
        "{{ $d := dict }}{{ range $i := until 400000 }}{{ $_ := set $d (toString $i) $i }}{{ end }}",
    ] {
        let template = Template::parse("t", text).unwrap();
        let error = template.render_text(&json!({})).unwrap_err();
        assert!(!error.message.is_empty(), "{text}");
    }
    // Far more than a Job needs.
    let users: Vec<_> =
        (0..1_000).map(|user| json!({"name": format!("User {user}"), "email": "a@example.com"})).collect();
    let text = r#"{{ $e := .CloudEvent | toJson | replace "$" "$$" | fromJson }}{{ $l := list }}{{ range $u := $e.users }}{{ $l = append $l (get $u "name") }}{{ end }}{{ $l | join "," | len }}"#;
    let template = Template::parse("t", text).unwrap();
    template.render_text(&json!({"CloudEvent": {"users": users}})).unwrap();
}

#[test]
fn a_text_of_the_event_is_put_back_only_as_often_as_a_job_can_hold_it() {
    let event = json!({"name": "x".repeat(100_000), "names": ["a"]});
    // One token in many places: in one text, in several, in keys, through aliases, and with quotes that make it longer. And pointers
    // to many places deep below.
    let key = "k".repeat(900);
    for text in [
        r#"a: "{{ range until 30 }}{{ $.name }}{{ end }}""#.to_owned(),
        "{{ range until 30 }}- {{ $.name }}\n{{ end }}".to_owned(),
        "{{ range until 30 }}- { {{ $.name }}: 1}\n{{ end }}".to_owned(),
        format!("- &a {{{{ .name }}}}\n{}", "- *a\n".repeat(30)),
        r#"{{ $x := repeat 1000 "\x01" }}a: |{{ range until 1000 }}{{ $x | quote | nindent 2 }}{{ end }}"#
            .to_owned(),
        format!(
            "{key}: {{ {key}: {{ {key}: [{{{{ range until 1000 }}}}{{{{ first $.names }}}},{{{{ end }}}}]}}}}"
        ),
    ] {
        let error = Template::parse("t", &text).unwrap().render(&event).unwrap_err();
        assert!(error.message.contains("larger than 2 MiB"), "{text}: {error}");
    }
    let fits = "{{ range until 15 }}- {{ $.name }}\n{{ end }}";
    assert_eq!(Template::parse("t", fits).unwrap().render_documents(&event).unwrap()[0][14], event["name"]);
}

#[test]
fn what_a_function_makes_is_limited_before_it_is_made() {
    for text in [
        // The same operand in a verb after the other, and padding of each item.
        format!(r#"{{{{ $x := printf "{}" (repeat 100000 "x") }}}}"#, "%[1]s".repeat(2_000)),
        r#"{{ $x := printf "%100000d" (until 10000) }}"#.to_owned(),
        format!("{{{{ $x := until 20000 }}}}{{{{ $y := concat {} }}}}", "$x ".repeat(1_000)),
        r"{{ $x := until 20000 }}{{ range until 90 }}{{ $x = list $x }}{{ end }}{{ $y := toPrettyJson $x }}".to_owned(),
        r#"{{ $d := dict (repeat 100000 "k") (list (dict) (dict) (dict)) }}{{ range until 6 }}{{ $l := list }}{{ range until 40 }}{{ $l = append $l (dict) }}{{ end }}{{ $_ := set $d (repeat 100000 "k") $l }}{{ end }}{{ $y := toToml $d }}"#.to_owned(),
        r#"{{ $x := printf "[%s1]" (repeat 10000 "{\"a\":1},") | fromJsonArray }}"#.to_owned(),
        r#"{{ $d := dict }}{{ range $i := until 10000 }}{{ $_ := set $d (print $i) (dict "a" 1) }}{{ end }}"#
            .to_owned(),
        r#"{{ $x := repeat 1000000 "x " }}{{ $l := list }}{{ range until 100 }}{{ $l = append $l (trim $x) }}{{ end }}"#.to_owned(),
        r#"{{ $x := repeat 1500000 "x" | b64enc | b64enc }}"#.to_owned(),
        r#"{{ $x := repeat 2100000 "." | regexQuoteMeta }}"#.to_owned(),
        r#"{{ $x := dict "a" 1 }}{{ range 14 }}{{ $x = dict "a" $x "b" $x }}{{ end }}{{ $y := printf "%v" $x }}"#
            .to_owned(),
        r#"{{ $x := repeat 2000000 "x" | snakecase }}"#.to_owned(),
        r"{{ range until 100000 }}{{ $x := quote $.CloudEvent.name }}{{ end }}".to_owned(),
        "[{{ range until 60000 }}{{ $.CloudEvent.name }},{{ end }}]".to_owned(),
    ] {
        let template = Template::parse("t", &text).unwrap();
        let error = template.render(&json!({"CloudEvent": {"name": "x"}})).unwrap_err();
        assert!(error.message.contains("makes more than 4 MiB of text"), "{text:.90}: {error}");
    }
}

#[test]
fn what_is_gone_again_does_not_count() {
    let users: Vec<_> = (0..1_000).map(|user| json!({"name": format!("User {user:04}")})).collect();
    for text in [
        r#"{{ $l := list }}{{ range .users }}{{ $l = append $l .name }}{{ end }}{{ join "," $l | len }}"#,
        r#"{{ $s := "" }}{{ range .users }}{{ $s = print $s "," .name }}{{ end }}{{ len $s }}"#,
        r#"{{ $s := "" }}{{ range .users }}{{ $s = printf "%s,%s" $s .name | trim }}{{ end }}{{ len $s }}"#,
    ] {
        let template = Template::parse("t", text).unwrap();
        let length: usize = template.render_text(&json!({"users": users})).unwrap().parse().unwrap();
        assert!((9_999..=10_000).contains(&length), "{text}: {length}");
    }
}
