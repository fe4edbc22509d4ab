//! The tour, on an image of the user: the sample images take longer than a test should.

use std::fs;

use super::Dir;

#[test]
fn the_demo_leaves_one_restored_image_and_the_users_image_as_it_was() {
    let dir = Dir::new();
    let image = dir.image("vm.img", 1);
    fs::create_dir(dir.path("work")).unwrap();
    let said = dir.run(&["demo", "--directory", "work", "vm.img"]).succeeds();
    let lines: Vec<&str> = said.lines().collect();
    let header = "step              size GB   seconds    s/GB    new data  repository";
    assert_eq!(lines[2], header, "{said}");
    for (line, step) in lines[3..].iter().zip(["first backup", "second night", "restore of one"]) {
        assert!(line.starts_with(step), "{said}");
    }
    assert!(said.contains("  the same\n"), "{said}");
    let left = super::files_below(&dir.path("work"));
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(said.contains(&format!("The restored image is yours: {}\n", left[0].display())));
    assert!(fs::read(&left[0]).unwrap() == image && dir.read("vm.img") == image);
}

#[test]
fn the_demo_refuses_what_is_no_image() {
    let dir = Dir::new();
    fs::create_dir(dir.path("work")).unwrap();
    dir.run(&["demo", "--directory", "work", "missing"]).refused(1, "missing: No such file");
    dir.run(&["demo", "--directory", "work", "work"]).refused(1, "work is neither a file");
    dir.run(&["demo", "--directory", "nowhere"]).refused(1, "nowhere: No such file");
    assert_eq!(fs::read_dir(dir.path("work")).unwrap().count(), 0);
}
