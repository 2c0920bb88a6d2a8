//! What templates of events render, text by text and document by document.

use gotemplate::Template;
use kyaml::parse_documents;
use serde_json::{Value, json};

fn context() -> Value {
    json!({
        "CloudEvent": {
            "specversion": "1.0", "type": "user.saved", "source": "knapscen.disco", "subject": "s-1", "id": "i1",
            "data": {"n": 1_234_567, "small": 3, "f": 1.5, "b": true, "nul": null, "html": "<a&b>",
                     "q": "he said \"hi\"", "user_role": "admin_user", "count": "3", "empty": "",
                     "users": [{"name": "A B"}, {"name": "C"}]},
        },
        "Cluster": {"metadata": {"name": "mgmt", "namespace": "mgmt", "labels": {"role": "deploy"}}, "kind": "x"},
        "Resource": null,
        "MatchingResource": {},
    })
}

fn text(source: &str) -> Result<String, String> {
    let template = Template::parse("t", source).map_err(|error| error.to_string())?;
    template.render_text(&context()).map_err(|error| error.to_string())
}

fn documents(source: &str) -> Vec<Value> {
    Template::parse("t", source).unwrap().render_documents(&context()).unwrap()
}

#[test]
fn actions_render_as_text() {
    assert_eq!(text("Create").unwrap(), "Create");
    let by_role = "{{if eq .CloudEvent.data.user_role \"account_owner\"}}Create{{end}}";
    assert_eq!(text(by_role).unwrap(), "");
    let quoted = "{{if eq .CloudEvent.type 'auth.example.com.logout'}}Delete{{else}}Create{{end}}";
    assert!(text(quoted).is_err());
}

#[test]
fn texts_render_as_in_go() {
    for (source, rendered) in [
        ("{{ .CloudEvent.data.n }}", "1234567"),
        ("{{ .CloudEvent.data.f }}", "1.5"),
        ("{{ .CloudEvent.data.nul }}", "<no value>"),
        ("{{ .CloudEvent.data.nul | quote }}|", "|"),
        ("{{ .CloudEvent.data.html | toJson }}", "\"\\u003ca\\u0026b\\u003e\""),
        ("{{ index .CloudEvent.data `missing` }}", "<no value>"),
        ("{{ get .CloudEvent.data \"missing\" }}|", "|"),
        ("{{ printf \"%.0f\" .CloudEvent.data.n }}", "1234567"),
        ("{{ printf \"%d\" .CloudEvent.data.n }}", "1234567"),
        ("{{ eq .CloudEvent.data.small 3 }}", "true"),
        ("{{ eq .CloudEvent.data.small 3.0 }}", "true"),
        ("{{ $d := dict \"a\" 1 }}{{ $_ := set $d \"b\" 2 }}{{ $d }}", "map[a:1 b:2]"),
        ("{{ .CloudEvent.data.users | toYaml }}", "- name: A B\n- name: C"),
    ] {
        assert_eq!(text(source).as_deref(), Ok(rendered), "{source}");
    }
}

#[test]
fn errors_name_the_place_of_the_missing_key() {
    let template = Template::parse("job.yaml", "a: 1\nb: \"{{ .CloudEvent.data.missing }}\"\n").unwrap();
    let error = template.render_documents(&context()).unwrap_err();
    assert_eq!((error.line, error.column), (Some(2), Some(24)));
    assert_eq!(error.message, "map has no entry for key \"missing\"");
    let error = Template::parse("job.yaml", "a: 1\n  {{ lookup \"v1\" }}").unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 6: function \"lookup\" not defined");
}

#[test]
fn what_sprig_has_and_we_refuse_says_why() {
    for name in ["env", "expandenv", "getHostByName", "genPrivateKey", "derivePassword", "htpasswd"] {
        let error = text(&format!("{{{{ if false }}}}{{{{ {name} \"x\" }}}}{{{{ end }}}}")).unwrap_err();
        assert!(error.contains(name) && error.contains("not offered"), "{error}");
    }
}

#[test]
fn unknown_templates_and_variables_are_found_without_an_event() {
    for source in
        ["{{template \"x\"}}", "{{$x}}", "{{if $x := 1}}{{end}}{{$x}}", "{{break}}", "{{include \"x\" .}}"]
    {
        assert!(Template::parse("t", source).is_err(), "{source}");
    }
}

#[test]
fn what_the_template_writes_keeps_its_type() {
    let rendered = documents(
        "a: {{ .CloudEvent.data.n }}\nb: {{ .CloudEvent.data.b }}\nc: {{ .CloudEvent.data.count }}\n\
         d: {{ .CloudEvent.data.empty | default \"true\" }}\ne: {{ ternary \"1\" \"2\" true }}\n\
         f: \"{{ .CloudEvent.data.count }}\"\ng: {{ .CloudEvent.data.count | quote }}\n",
    );
    let expected = json!({"a": 1_234_567, "b": true, "c": "3", "d": true, "e": 1, "f": "3", "g": "3"});
    assert_eq!(rendered, [expected]);
}

#[test]
fn quotes_inside_a_block_scalar_are_escaped_as_printed() {
    let rendered = documents("a: |\n  echo {{ .CloudEvent.data.q | quote }}\n");
    assert_eq!(rendered, [json!({"a": "echo \"he said \\\"hi\\\"\"\n"})]);
}

#[test]
fn only_a_trusting_rendering_reads_printed_text_as_yaml() {
    let template = Template::parse("t", "{{ printf \"a: %d\" 1 }}\n").unwrap();
    assert_eq!(template.render_documents(&context()).unwrap(), [json!("a: 1")]);
    assert_eq!(template.render_documents_trusting(&context()).unwrap(), [json!({"a": 1})]);
}

#[test]
fn a_range_renders_one_document_for_each_item() {
    let rendered = documents(
        "{{ range $i, $u := .CloudEvent.data.users }}\n---\nname: {{ $u.name }}\ni: {{ $i }}\n{{ end }}",
    );
    assert_eq!(rendered, [json!({"name": "A B", "i": 0}), json!({"name": "C", "i": 1})]);
}

#[test]
fn documents_are_divided_by_separator_lines_only() {
    for (source, count) in [
        ("", 0),
        ("# only a comment\n", 0),
        ("---\n---\n# c\n---\n", 0),
        ("a: 1\n---\nb: 2", 2),
        ("a: \"x --- y\"\n", 1),
        ("a: |\n  ---\n  x\n", 1),
        ("a: 1\n ---\nb: 2\n", 1),
        ("a: 1\n--- \nb: 2\n", 2),
        ("a: 1\n---\nnull\n---\nb: 2\n", 2),
    ] {
        assert_eq!(parse_documents(source).unwrap().len(), count, "{source:?}");
    }
    assert_eq!(parse_documents("a: 1\n---\nb: 2\n  c: 3\n").unwrap_err().line, Some(4));
}

#[test]
fn templates_render_on_many_threads_at_once() {
    let template = Template::parse("t", "a: \"{{ .name }}\"\n").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let template = &template;
            scope.spawn(move || {
                for turn in 0..200 {
                    let name = format!("\"{thread}:{turn}");
                    let rendered = template.render_documents(&json!({"name": name})).unwrap();
                    assert_eq!(rendered, [json!({"a": name})]);
                }
            });
        }
    });
}

/// Go's builtins, sprig 3.3 and what Sveltos adds.
const FUNCTIONS: &str = "hello ago date date_in_zone date_modify dateInZone dateModify duration durationRound htmlDate \
    htmlDateInZone must_date_modify mustDateModify mustToDate now toDate unixEpoch abbrev abbrevboth \
    trunc trim upper lower title untitle substr repeat trimall trimAll trimSuffix trimPrefix nospace \
    initials randAlphaNum randAlpha randAscii randNumeric swapcase shuffle snakecase camelcase kebabcase \
    wrap wrapWith contains hasPrefix hasSuffix quote squote cat indent nindent replace plural sha1sum \
    sha256sum sha512sum adler32sum toString atoi int64 int float64 seq toDecimal split splitList splitn \
    toStrings until untilStep add1 add sub div mod mul randInt add1f addf subf divf mulf biggest max min \
    maxf minf ceil floor round join sortAlpha default empty coalesce all any compact mustCompact \
    fromJson toJson toPrettyJson toRawJson mustFromJson mustToJson mustToPrettyJson mustToRawJson \
    ternary deepCopy mustDeepCopy typeOf typeIs typeIsLike kindOf kindIs deepEqual env expandenv \
    getHostByName base dir clean ext isAbs osBase osClean osDir osExt osIsAbs b64enc b64dec b32enc \
    b32dec tuple list dict get set unset hasKey pluck keys pick omit merge mergeOverwrite mustMerge \
    mustMergeOverwrite values append push mustAppend mustPush prepend mustPrepend first mustFirst rest \
    mustRest last mustLast initial mustInitial reverse mustReverse uniq mustUniq without mustWithout has \
    mustHas slice mustSlice concat dig chunk mustChunk bcrypt htpasswd genPrivateKey derivePassword \
    buildCustomCert genCA genCAWithKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert \
    genSignedCertWithKey encryptAES decryptAES randBytes uuidv4 semver semverCompare fail regexMatch \
    mustRegexMatch regexFindAll mustRegexFindAll regexFind mustRegexFind regexReplaceAll \
    mustRegexReplaceAll regexReplaceAllLiteral mustRegexReplaceAllLiteral regexSplit mustRegexSplit \
    regexQuoteMeta urlParse urlJoin toYaml fromYaml fromYamlArray fromJsonArray toToml fromToml and or \
    not eq ne lt le gt ge print printf println len index call html js urlquery";

#[test]
fn every_function_is_offered_or_refused_with_a_reason() {
    for name in FUNCTIONS.split(' ') {
        if let Err(error) = Template::parse("t", &format!("{{{{ {name} }}}}")) {
            assert!(error.message.contains("not offered"), "{error}");
        }
    }
}

#[test]
fn an_integer_and_an_empty_text_stay_texts_and_are_told_of() {
    let template = Template::parse(
        "t",
        "a: {{ .CloudEvent.data.count }}\nb/c: [{{ .CloudEvent.data.empty }}, {{ .CloudEvent.data.q }}]\nd: 0{{ .CloudEvent.data.count }}",
    );
    let documents = template.unwrap().render(&context()).unwrap();
    assert_eq!(documents[0].value, json!({"a": "3", "b/c": ["", "he said \"hi\""], "d": "03"}));
    let bare: Vec<_> = documents[0].bare.iter().map(String::as_str).collect();
    assert_eq!(bare, ["/a", "/b~1c/0"]);
}
