//! `report`: its numbers, its page in a real browser, and names that would be something else than names.
//!
//! Needs `faketime`, so that nights are nights, and `chromium`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;

use garret_cli::render;
use serde_json::Value;

use super::{Dir, MIB, noise, packs};

/// Three nights of two images of one host, the second night without the second image.
fn three_nights() -> Dir {
    let dir = Dir::with_repository();
    let _bytes = dir.image("app.img", 1);
    let _bytes = dir.image("mail.img", 2);
    dir.write("notes/a", b"a note");
    night(&dir, "2026-11-01 02:30:00", "repo::n1", &["app.img", "mail.img", "notes"]);
    change(&dir, "app.img", 5);
    night(&dir, "2026-11-02 02:30:00", "repo::n2", &["app.img", "gone.img"]);
    change(&dir, "mail.img", 6);
    night(&dir, "2026-11-03 02:30:00", "repo::n3", &["app.img", "mail.img", "notes"]);
    dir
}

fn night(dir: &Dir, time: &str, archive: &str, paths: &[&str]) {
    let ran = dir.run_under(&["faketime", time], &[&["create", archive], paths].concat());
    assert!(ran.code.is_some_and(|code| code <= 1), "{}", ran.stderr);
}

/// Other bytes in 128 KiB of the noise that the image begins with.
fn change(dir: &Dir, name: &str, seed: u64) {
    let file = fs::File::options().write(true).open(dir.path(name)).unwrap();
    file.write_all_at(&noise(MIB / 8, seed), MIB as u64 / 2).unwrap();
}

/// A report as JSON, made together with its page.
fn report(dir: &Dir, more: &[&str]) -> (Value, String) {
    let words = [&["report", "--json", "--html", "page.html"], more, &["repo"]].concat();
    let text = dir.run(&words).succeeds();
    dir.write("report.json", text.as_bytes());
    (serde_json::from_str(&text).unwrap(), String::from_utf8(dir.read("page.html")).unwrap())
}

#[test]
fn a_report_says_what_each_night_and_each_image_took() {
    let dir = three_nights();
    let (json, _) = report(&dir, &[]);
    let nights = json["nights"].as_array().unwrap();
    let names: Vec<&Value> = nights.iter().map(|night| &night["name"]).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    let complete: Vec<&Value> = nights.iter().map(|night| &night["complete"]).collect();
    assert_eq!(complete, [true, false, true]);
    for image in json["images"].as_array().unwrap() {
        let path = image["path"].as_str().unwrap();
        let held = image["nights"].as_array().unwrap();
        let rows = image["map"]["rows"].as_array().unwrap();
        assert_eq!(held.len(), rows.len(), "{path}");
        for (night, row) in held.iter().zip(rows) {
            // Two ways to the same numbers.
            let location = format!("repo::{}", night["name"].as_str().unwrap());
            let info = dir.run(&["info", "--format", "{new}", &location, path]).succeeds();
            assert_eq!(info, night["new_size"].to_string(), "{location} {path}");
            let cells = row["changed"].as_array().unwrap().iter();
            let sum: u64 = cells.map(|cell| cell.as_u64().unwrap()).sum();
            assert_eq!(row["changed_size"], sum, "{location} {path}");
        }
        let last = rows.last().unwrap()["changed_size"].as_u64().unwrap();
        let expected = if path == "app.img" { 0..=0 } else { MIB as u64 / 8..=MIB as u64 / 4 };
        assert!(expected.contains(&last), "{path}: {last}");
    }
    let stored: u64 = nights.iter().map(|night| night["stored_size"].as_u64().unwrap()).sum();
    let all = json["repository"]["stored_size"].as_u64().unwrap();
    assert!(stored <= all && stored > all * 9 / 10, "{stored} of {all}");
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].as_str().unwrap().starts_with("n2 is not complete: "), "{problems:?}");
    assert_eq!(json["prune"], Value::Null);
}

/// Who looks at the page does not see what was said beside it.
#[test]
fn what_was_read_from_a_second_copy_turns_the_lamp_too() {
    let dir = three_nights();
    let archive = dir.path("repo/backups").join(&dir.archives("repo")[0]);
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..10]).unwrap();
    let ran = dir.run(&["report", "--json", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let json: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(json["light"], "bad");
    assert!(json["problems"][0].as_str().unwrap().starts_with("damage was met while"), "{json}");
}

#[test]
fn what_is_damaged_turns_the_lamp_and_is_named() {
    let dir = three_nights();
    let pack = packs(&dir.path("repo")).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    assert_eq!(dir.run(&["check", "--verify-data", "repo"]).code, Some(1));
    let (json, page) = report(&dir, &[]);
    assert_eq!(json["light"], "bad");
    let light = |what: &str| {
        let checks = json["lamp"].as_array().unwrap();
        checks.iter().find(|check| check["what"] == what).unwrap()["light"].clone()
    };
    assert_eq!(light("Damage"), "bad");
    let problems: Vec<&str> =
        json["problems"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let name = pack.file_name().unwrap().to_str().unwrap();
    assert!(problems[0].starts_with(&format!("pack {name} is damaged since ")), "{problems:?}");
    let lost = problems.iter().filter(|text| text.contains("something is lost of it"));
    assert!(lost.count() > 0 && page.contains(name), "{problems:?}");
    let lacks = json["nights"].as_array().unwrap().iter().filter(|night| night["lacks"] == true);
    let newest = json["images"].as_array().unwrap().iter().map(|image| &image["newest"]);
    let (lacks, newest): (Vec<_>, Vec<_>) =
        (lacks.map(|night| &night["name"]).collect(), newest.collect());
    assert!(newest.iter().all(|name| !lacks.contains(name)), "{newest:?} of {lacks:?}");
}

#[test]
fn no_contents_are_read() {
    let dir = three_nights();
    let without_times = |(mut json, _): (Value, String)| {
        json["repository"]["time"].take();
        json["repository"]["free"].take();
        json["repository"]["days_left"].take();
        json["lamp"].take();
        json
    };
    let before = without_times(report(&dir, &["-d", "1"]));
    for pack in packs(&dir.path("repo")) {
        let len = fs::metadata(&pack).unwrap().len() as usize;
        fs::write(pack, noise(len, 9)).unwrap();
    }
    let after = without_times(report(&dir, &["-d", "1"]));
    assert!(after == before, "{after:#}\n{before:#}");
}

#[test]
fn rules_show_what_stays_what_goes_and_what_goes_next() {
    let dir = three_nights();
    night(&dir, "2026-11-04 02:30:00", "repo::n4", &["app.img", "mail.img"]);
    let (json, page) = report(&dir, &["-d", "2"]);
    let kept = |name: &str| {
        let archives = json["prune"]["archives"].as_array().unwrap();
        archives.iter().find(|found| found["name"] == name).unwrap()["kept_by"].clone()
    };
    assert_eq!(
        ["n4", "n3", "n2", "n1"].map(kept),
        ["daily #1".into(), "daily #2".into(), Value::Null, Value::Null]
    );
    assert_eq!(json["prune"]["next"], serde_json::json!(["n3"]));
    let foreseen = dir.run(&["prune", "-n", "-d", "2", "repo"]).succeeds();
    let freed = render::size(json["prune"]["freed_size"].as_u64().unwrap());
    assert!(foreseen.contains(&format!("about {freed} in")), "{foreseen}");
    assert!(page.contains("Now go: n2, n1;") && page.contains("After one more good night go: n3"));
    let text = dir.run(&["report", "-d", "2", "repo"]).succeeds();
    assert!(text.contains("The rules keep 2 of 4 archives: daily 2\n"), "{text}");
    assert_eq!(text.lines().find(|line| line.len() > 126), None, "{text}");
}

#[test]
fn the_numbers_on_the_page_are_those_of_the_document() {
    let dir = three_nights();
    let (json, page) = report(&dir, &["-d", "1"]);
    // As it is written: a float that is read again may be its neighbour.
    let text = String::from_utf8(dir.read("report.json")).unwrap();
    let known: BTreeSet<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).collect();
    let mut shown = BTreeSet::new();
    for part in page.split("<data value=\"").skip(1) {
        let (value, rest) = part.split_once("\">").unwrap();
        let text = rest.split('<').next().unwrap();
        let is_known = known.contains(value) || known.contains(format!("{value}.0").as_str());
        assert!(is_known, "{value} is not in the document");
        if let (Ok(bytes), true) = (value.parse(), text.contains('B')) {
            assert_eq!(text, render::size(bytes));
        }
        shown.insert(value.to_owned());
    }
    let mut expected = Vec::new();
    for night in json["nights"].as_array().unwrap() {
        expected.extend(["original_size", "new_size", "stored_size"].map(|name| &night[name]));
    }
    for image in json["images"].as_array().unwrap() {
        expected.extend([&image["size"], &image["stored_size"]]);
        expected.extend(
            image["map"]["rows"].as_array().unwrap().iter().map(|row| &row["changed_size"]),
        );
        let line = image["restore"].as_str().unwrap().replace('\'', "&#39;");
        assert!(page.contains(&format!("<code>{line}</code>")), "{line}");
    }
    expected.extend(["original_size", "stored_size", "free"].map(|name| &json["repository"][name]));
    expected.push(&json["prune"]["freed_size"]);
    for value in expected {
        assert!(shown.contains(&value.to_string()), "{value} is not on the page");
    }
}

/// Every name of a field in a document.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        Value::Object(values) => {
            found.extend(values.keys().cloned());
            values.values().for_each(|value| names(value, found));
        }
        _ => {}
    }
}

#[test]
fn every_field_of_the_document_is_described() {
    let dir = three_nights();
    let (json, _) = report(&dir, &["-d", "1"]);
    let mut found = BTreeSet::new();
    names(&json, &mut found);
    let page = include_str!("../../../../docs/json.md").split("# `report --json`").nth(1).unwrap();
    let unknown: Vec<&String> =
        found.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(unknown, [""; 0]);
    assert!(found.len() > 40, "{found:?}");
}

#[test]
fn the_restore_lines_of_a_report_restore() {
    let dir = three_nights();
    let (json, _) = report(&dir, &[]);
    for image in json["images"].as_array().unwrap() {
        let line = image["restore"].as_str().unwrap();
        let line = line.replace("/var/tmp/restored", "back").replace("garret ", "\"$GARRET\" ");
        let mut shell = dir.other("/bin/sh");
        shell.args(["-c", &line]).env("GARRET", env!("CARGO_BIN_EXE_garret"));
        let ran = shell.output().unwrap();
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
        let path = image["path"].as_str().unwrap();
        assert!(dir.read(&format!("back/{path}")) == dir.read(path), "{path}");
    }
}

/// The drawing is sound XML with names as text, no script and nothing from elsewhere, and has the numbers of the document.
#[test]
fn the_growth_is_drawn_as_a_file_of_its_own() {
    let dir = Dir::with_repository();
    dir.image(HOSTILE, 1);
    for day in 1..4 {
        night(
            &dir,
            &format!("2026-11-0{day} 02:30:00"),
            &format!("repo::<b>\"'&{day}"),
            &[HOSTILE],
        );
    }
    let words = ["report", "--json", "--svg", "growth.svg", "repo"];
    let json: Value = serde_json::from_str(&dir.run(&words).succeeds()).unwrap();
    let script = "import sys, xml.etree.ElementTree as tree\n\
                  for one in tree.parse(sys.argv[1]).iter():\n \
                  print(one.tag.split('}')[1], dict(one.attrib), one.text or '')";
    let drawn = dir.path("growth.svg");
    let said = super::tool("python3", &["-c", script, drawn.to_str().unwrap()]);
    for line in said.lines().filter(|line| !line.starts_with(['.', ' ', ':', '@', '*', '}'])) {
        let known = ["svg", "style", "rect", "text", "path", "g", "title"];
        assert!(known.contains(&line.split(' ').next().unwrap()), "{line}");
    }
    assert!(!said.contains("href") && !said.contains("url("), "{said}");
    let stored = json["nights"].as_array().unwrap().iter();
    let stored: u64 = stored.map(|night| night["stored_size"].as_u64().unwrap()).sum();
    assert!(said.contains(&format!("}} {}\n", render::size(stored))), "{stored} in {said}");
    assert!(said.contains("title {} <b>\"'&3, 2026-11-03 02:30: "), "{said}");
    assert!(!said.contains(['\u{202e}', '\u{1b}']), "not seen, and there");
}

const HOSTILE: &str = "<script>alert(1)<\u{2215}script>\" onload='x' &\u{202e}\n\u{1b}.img";

#[test]
fn names_on_the_page_are_names_and_nothing_else() {
    let dir = Dir::with_repository();
    dir.image(HOSTILE, 1);
    night(&dir, "2026-11-01 02:30:00", "repo::<b>\"'&n", &[HOSTILE]);
    let (json, page) = report(&dir, &["-d", "1"]);
    assert_eq!(json["images"][0]["path"], HOSTILE);
    assert_eq!(json["nights"][0]["name"], "<b>\"'&n");
    assert!(!page.contains(['\u{202e}', '\u{1b}']), "not seen, and there");
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"));
    let tags = [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "ol",
        "li",
        "b",
        "i",
        "span",
        "div",
        "section",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "data",
        "svg",
        "path",
        "rect",
        "g",
        "text",
        "figure",
        "figcaption",
        "details",
        "summary",
        "code",
        "footer",
    ];
    let attributes = [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "role",
        "aria-label",
        "value",
        "scope",
        "viewBox",
        "preserveAspectRatio",
        "d",
        "x",
        "y",
        "width",
        "height",
        "rx",
        "shape-rendering",
        "style",
    ];
    let (_, body) = page.split_once("<!DOCTYPE html>").unwrap();
    for tag in body.split('<').skip(1).filter(|tag| !tag.starts_with('/')) {
        let (inside, _) = tag.split_once('>').unwrap();
        let mut parts = inside.trim_end_matches('/').split('"').step_by(2);
        let mut head = parts.next().unwrap().split(' ');
        let name = head.next().unwrap();
        assert!(tags.contains(&name), "<{inside}>");
        for attribute in head.chain(parts).map(|text| text.trim().trim_end_matches('=')) {
            assert!(attribute.is_empty() || attributes.contains(&attribute), "<{inside}>");
        }
    }
    let text = dir.run(&["report", "repo"]).succeeds();
    assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
    dir.run(&["report", "--html", "no/page.html", "repo"]).refused(1, "there is no directory no");
}

/// What Chromium says when it opens a file of the directory so.
fn browse(dir: &Dir, file: &str, width: u32, is_dark: bool, more: &[&str]) -> (String, String) {
    let mut chromium = dir.other("chromium");
    chromium.env("PATH", std::env::var_os("PATH").unwrap());
    // 0 is dark, 1 is light.
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!is_dark));
    let profile = format!("--user-data-dir={}", dir.path("browser").display());
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
    ]);
    chromium.args(["--enable-logging=stderr", &scheme, &profile]);
    chromium.arg(format!("--window-size={width},2400")).args(more);
    chromium.arg(format!("file://{}", dir.path(file).display()));
    let output =
        chromium.output().unwrap_or_else(|error| panic!("this test needs chromium: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_browser_shows_the_page_without_a_complaint_at_any_width_light_and_dark() {
    let dir = three_nights();
    dir.image(HOSTILE, 3);
    night(&dir, "2026-11-04 02:30:00", "repo::<b>\"'&n", &["app.img", HOSTILE]);
    let (_, page) = report(&dir, &["-d", "2"]);
    // The page allows no script. A copy that does says how wide it is.
    let (before, rest) = page.split_once("<meta http-equiv=").unwrap();
    let (_, after) = rest.split_once('>').unwrap();
    let script =
        "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>";
    dir.write("copy.html", (before.to_owned() + &after.replace("</body>", script)).as_bytes());
    let mut pictures = BTreeSet::new();
    for width in [390, 1280] {
        for is_dark in [false, true] {
            let picture = format!("{width}-{is_dark}.png");
            let shot = format!("--screenshot={}", dir.path(&picture).display());
            let (_, said) = browse(&dir, "page.html", width, is_dark, &[&shot]);
            assert!(!said.contains("CONSOLE"), "{said}");
            let bytes = dir.read(&picture);
            assert!(
                bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000,
                "{picture}: {}",
                bytes.len()
            );
            pictures.insert(bytes);
        }
        // A window has a least width, a frame has none.
        let frame = format!(
            "<body><script>onmessage = event => document.body.title = 'wide: ' + event.data</script>\
             <iframe src='copy.html' width='{width}' height='900' style='border:0'></iframe></body>"
        );
        dir.write("frame.html", frame.as_bytes());
        let (dom, _) = browse(&dir, "frame.html", 1400, false, &["--dump-dom"]);
        assert!(dom.contains(&format!("title=\"wide: {width}\"")), "{width}: {dom}");
    }
    assert_eq!(pictures.len(), 4, "each is another picture");
}

#[test]
fn a_map_shows_where_a_disk_changed_between_two_archives() {
    let dir = three_nights();
    let shown = dir.run(&["diff", "--map", "repo::n1", "n3"]).succeeds();
    let lines: Vec<&str> = shown.lines().collect();
    let titles: Vec<&&str> = lines.iter().filter(|line| line.ends_with("4.19 MB")).collect();
    assert_eq!(titles, [&"app.img: 4.19 MB", &"mail.img: 4.19 MB"]);
    for (line, label) in [(1, "11-02 02:30"), (2, "11-03 02:30"), (3, "all "), (5, "11-03 02:30")] {
        assert!(lines[line].starts_with(label), "{shown}");
    }
    assert!(!lines[2].contains('\u{2588}'), "nothing changed in the third night: {shown}");
    assert_eq!(
        lines[1].split_once("11-02 02:30").unwrap().1,
        lines[3].split_once("all        ").unwrap().1
    );
    assert!(lines.iter().all(|line| line.chars().count() <= 90), "{shown}");
    let one = dir.run(&["diff", "--map", "repo::n1", "n3", "mail.img"]).succeeds();
    assert!(one.starts_with("mail.img: ") && !one.contains("app.img"), "{one}");
    let none = dir.run(&["diff", "--map", "repo::n1", "n3", "notes"]).succeeds();
    assert_eq!(none, "no disk image among what is compared\n");
    assert_eq!(dir.run(&["diff", "--map", "--json", "repo::n1", "n3"]).code, Some(2));
}
