//! Files as they occur in practice: lists, links, pipes, odd names, and files without an end.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
};

use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

use crate::harness::{ProcessOutput, TestMachine, addition_rows, logging_server::LoggingServer, png, wait_until};

fn machine() -> (LoggingServer, TestMachine) {
    let server = LoggingServer::openai("A red cup.");
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml(""));
    (server, machine)
}

/// Number of requests with a picture, and of requests with text alone.
fn pictures_and_texts(server: &LoggingServer) -> (usize, usize) {
    let completions = server.completions();
    let with_picture =
        completions.iter().filter(|request| String::from_utf8_lossy(&request.body).contains("data:image/png;base64,"));
    let pictures = with_picture.count();
    (pictures, completions.len() - pictures)
}

/// Runs a command under limits on memory and file size, so that an endless input can't exhaust the machine.
fn bounded(machine: &TestMachine, args: &[&str]) -> ProcessOutput {
    machine.start_in_shell("ulimit -v 4000000; ulimit -f 200000", args).wait()
}

#[test]
fn a_list_of_pictures_is_known_by_all_its_lines() {
    for (list, pictures, says) in [
        ("gone.png\na.png\n", 1, "list.txt:1: gone.png does not exist"),
        ("# from May\na.png\n\n# from June\nsub/b.png\n", 2, "2 pictures"),
        ("\"a.png\"\n'my photo.png'\n", 2, "2 pictures"),
        ("my\\ photo.png\nsub\\b.png\n", 2, "2 pictures"),
        ("https://pictures.example/a.png\na.png\n", 1, "list.txt:1: https://pictures.example/a.png is a URL"),
        ("drawing.svg\na.png\n", 1, "list.txt:1: drawing.svg is an SVG drawing"),
    ] {
        let (server, machine) = machine();
        for name in ["a.png", "my photo.png", "sub/b.png"] {
            machine.write(name, png(3, 2));
        }
        machine.write("drawing.svg", "<svg/>");
        machine.write("list.txt", list);
        let ended = machine.cascadeck(&["run", "list.txt", "--headless"]);
        ended.assert_stderr_contains(&[says]);
        assert_eq!(pictures_and_texts(&server), (pictures, 0), "{list}: {}", ended.stderr);
    }
}

#[test]
fn a_list_whose_pictures_are_all_missing_names_each_line_and_sends_nothing() {
    let (server, machine) = machine();
    machine.write("list.txt", "gone.png\n\nlost/b.jpg\n");
    let refused = machine.cascadeck(&["run", "list.txt"]).expect_status(2);
    refused.assert_stderr_contains(&[
        "list.txt:1: gone.png does not exist",
        "list.txt:3: lost/b.jpg does not exist",
        "--lines",
    ]);
    assert_eq!(pictures_and_texts(&server), (0, 0));
}

#[test]
fn lines_that_may_be_pictures_or_prompts_are_refused_until_somebody_says_which() {
    let (server, machine) = machine();
    machine.write("a.png", png(3, 2));
    machine.write("lines.txt", "Write a poem about a cup\na.png\n");
    let refused = machine.cascadeck(&["run", "lines.txt"]).expect_status(2);
    refused.assert_stderr_contains(&["line 2 (a.png)", "line 1 (Write a poem about a cup)", "--list", "--lines"]);
    assert_eq!(pictures_and_texts(&server), (0, 0));

    machine.cascadeck(&["run", "lines.txt", "--lines", "--run-dir", "runs/prompts"]).expect_status(0);
    assert_eq!(pictures_and_texts(&server), (0, 2));
    let listed = machine.cascadeck(&["run", "lines.txt", "--list", "--run-dir", "runs/pictures"]);
    listed.assert_stderr_contains(&["lines.txt:1: Write a poem about a cup does not exist"]);
    assert_eq!(pictures_and_texts(&server), (1, 2));

    for option in ["--list", "--lines"] {
        machine.cascadeck(&["run", ".", option]).expect_status(2).assert_stderr_contains(&[option, "is a folder"]);
    }
}

#[test]
fn the_lines_of_a_run_that_goes_on_are_read_as_they_were() {
    let (server, machine) = machine();
    machine.write("lines.txt", "Write a poem\nlogo.png\n");
    machine.cascadeck(&["run", "lines.txt"]).expect_status(2);
    machine.cascadeck(&["run", "lines.txt", "--lines"]).expect_status(0);
    machine.write("lines.txt", "Write a poem\nlogo.png\nWrite an ode\n");
    machine.cascadeck(&["plan", "lines.txt"]).expect_status(0);
    machine.cascadeck(&["run", "lines.txt"]).expect_status(0);
    assert_eq!(pictures_and_texts(&server), (0, 3));
}

#[test]
fn paths_never_go_out_as_prompts_unless_somebody_says_so() {
    let (server, machine) = machine();
    for lines in [
        "my photo.png\nmy other photo.png\n",
        "# pictures\nmy photo.png\nmy other photo.png\n",
        "gone.png\nb.pdf\nc.psd\n",
        "gone.png\nWrite a poem\nWrite an ode\n",
        "https://pictures.example/1\nhttps://pictures.example/2\n",
        "C:\\Users\\me\\gone one.png\nC:\\Users\\me\\gone two.png\n",
        "gone.png,1\nlost.png,2\n",
        "gone.png\ta cup\nlost.png\ta saucer\n",
    ] {
        machine.write("lines.txt", lines);
        machine.cascadeck(&["run", "lines.txt"]).expect_status(2).assert_stderr_contains(&["lines.txt", "--lines"]);
    }
    assert_eq!(pictures_and_texts(&server), (0, 0));
    machine.write("lines.txt", "Describe how logo.png should look.\nWrite a poem\n");
    machine.cascadeck(&["run", "lines.txt"]).expect_status(0);
    assert_eq!(pictures_and_texts(&server), (0, 2));
}

#[test]
fn a_file_without_an_end_is_refused_with_the_limit_and_leaves_nothing() {
    let (_server, machine) = machine();
    machine.write("batch.jsonl", addition_rows(1));
    let keys = bounded(&machine, &["run", "batch.jsonl", "--keys", "/dev/zero"]).expect_status(2);
    keys.assert_stderr_contains(&["/dev/zero", "is larger than the limit of 16 MiB"]);
    let prompt = bounded(&machine, &["run", "batch.jsonl", "--prompt-file", "/dev/zero"]).expect_status(2);
    prompt.assert_stderr_contains(&[
        "--prompt-file /dev/zero",
        "is larger than the limit of 4 MiB",
        "max_prompt_file_mib",
    ]);
    bounded(&machine, &["run", "/dev/zero"]).expect_status(2).assert_stderr_contains(&["/dev/zero", "zero bytes"]);
    bounded(&machine, &["plan", "/dev/zero"]).expect_status(2).assert_stderr_contains(&["/dev/zero", "zero bytes"]);
    let explain = bounded(&machine, &["explain", "--api", "openai", "/dev/zero"]).expect_status(2);
    explain.assert_stderr_contains(&["/dev/zero", "is larger than the limit of 64 MiB"]);
    let profile = bounded(&machine, &["sim", "--profile", "/dev/zero"]).expect_status(2);
    profile.assert_stderr_contains(&["/dev/zero", "larger than the limit of 1 MiB"]);
    assert!(!machine.path("runs/zero/input.new").exists());
}

#[test]
fn a_pipe_without_an_end_is_refused_at_the_limit_and_leaves_nothing() {
    let (server, machine) = machine();
    machine.write_keys_toml(&format!("{}\n[input]\nmax_pipe_mib = 1\n", server.keys_toml("")));
    for command in ["run", "plan"] {
        let refused =
            machine.cascadeck_with_stdin(&[command, "-"], &"What is 1 + 1?\n".repeat(200_000)).expect_status(2);
        refused.assert_stderr_contains(&["standard input", "more than 1 MiB", "max_pipe_mib"]);
    }
    let left: Vec<_> = fs::read_dir(machine.path("runs/stdin")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| fs::metadata(path).unwrap().len() < 100), "{left:?}");
    assert_eq!(fs::read_dir(machine.root().join("tmp")).unwrap().count(), 0);
    machine.cascadeck_with_stdin(&["run", "-"], "What is 1 + 1?\n").expect_status(0);
    assert_eq!(pictures_and_texts(&server), (0, 1));
}

#[test]
fn a_pattern_follows_no_links_round_in_circles() {
    let (server, machine) = machine();
    machine.write("album/a.png", png(3, 2));
    machine.write("album/sub/b.png", png(3, 2));
    symlink(machine.path("album"), machine.path("album/again")).unwrap();
    machine.cascadeck(&["run", "album/**/*.png"]).expect_status(0).assert_stderr_contains(&["2 pictures"]);
    assert_eq!(pictures_and_texts(&server), (2, 0));
}

#[test]
fn a_pipe_among_the_pictures_is_left_out_unopened() {
    let (_server, machine) = machine();
    machine.write("album/a.png", png(3, 2));
    mkfifo(&machine.path("album/b.png"), Mode::S_IRWXU).unwrap();
    machine.write("list.txt", "album/a.png\nalbum/b.png\n");
    for input in ["album", "album/*.png", "list.txt"] {
        let planned = machine.cascadeck(&["plan", input, "--prompt", "{{ width }} x {{ height }}"]).expect_status(0);
        planned.assert_stderr_contains(&["b.png is not a regular file"]);
    }
}

#[test]
fn what_a_picture_is_is_said_by_its_content_and_not_by_its_name() {
    let (server, machine) = machine();
    for name in ["a.heic", "b.tif", "c.bmp", "d.avif"] {
        machine.write(&format!("album/{name}"), png(3, 2));
    }
    machine.cascadeck(&["run", "album"]).expect_status(0).assert_stderr_contains(&["4 pictures"]);
    assert_eq!(pictures_and_texts(&server), (4, 0));
}

#[test]
fn what_can_not_be_taken_of_a_folder_is_left_out_and_the_rest_runs() {
    let (server, machine) = machine();
    machine.write("album/a.png", png(3, 2));
    machine.write("album/locked/b.png", png(3, 2));
    let odd = OsStr::from_bytes(b"caf\xE9.png");
    fs::write(machine.path("album").join(odd), png(3, 2)).unwrap();
    symlink(machine.path("nowhere.png"), machine.path("album/dangling.png")).unwrap();
    let locked = machine.path("album/locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read the folder all the same.
    let may_read = fs::read_dir(&locked).is_ok();
    let pattern = machine.path("album").join("**/*.png");
    for (input, run) in [("album", "runs/folder"), (pattern.to_str().unwrap(), "runs/pattern")] {
        let args = ["run", input, "--run-dir", run, "--captions", run];
        let ended = machine.cascadeck(&args).expect_status(0);
        ended.assert_stderr_contains(&[
            "are left out",
            "has a name that is not UTF-8; rename it",
            "dangling.png is a broken link",
        ]);
        if may_read {
            ended.assert_stderr_contains(&["2 pictures", "2 files or folders"]);
        } else {
            ended.assert_stderr_contains(&["1 picture", "3 files or folders", "locked can't be read"]);
        }
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(pictures_and_texts(&server).1, 0);
}

#[test]
fn a_picture_found_by_a_linked_folder_as_well_goes_once_and_a_folder_not_entered_is_named() {
    let (server, machine) = machine();
    machine.write("photos/deep/a.png", png(3, 2));
    machine.write("elsewhere/b.png", png(3, 2));
    symlink("photos/deep", machine.path("again")).unwrap();
    symlink("../elsewhere", machine.path("photos/linked")).unwrap();
    symlink("..", machine.path("photos/deep/up")).unwrap();
    let plan = machine.cascadeck(&["plan", "again/*.png", "--json"]);
    assert_eq!(plan.expect_status(0).stdout_json()["rows"], 1, "by a link, where that is the only way");
    let plan = machine.cascadeck(&["plan", "*/**/*.png", "--json"]).expect_status(0);
    plan.assert_stderr_contains(&["again/a.png is the same file as photos/deep/a.png (through a linked folder)"]);
    assert!(!plan.stderr.contains("elsewhere"), "its picture is found: {}", plan.stderr);
    assert_eq!(plan.stdout_json()["rows"], 2, "{}", plan.stderr);
    let plan = machine.cascadeck(&["plan", "p*/**/*.png", "--json"]).expect_status(0);
    plan.assert_stderr_contains(&["photos/linked is a link to a folder elsewhere"]);
    assert_eq!(plan.stdout_json()["rows"], 1, "{}", plan.stderr);
    let ended = machine.cascadeck(&["run", "photos"]).expect_status(0);
    ended.assert_stderr_contains(&[
        "1 picture",
        "photos/linked is a link to a folder elsewhere; to include its pictures, name it",
    ]);
    assert!(!ended.stderr.contains("deep/up"), "{}", ended.stderr);
    assert_eq!(pictures_and_texts(&server), (1, 0));
}

#[test]
fn a_pipe_in_a_captions_place_is_named_and_not_waited_for() {
    let (server, machine) = machine();
    machine.write("album/a.png", png(3, 2));
    mkfifo(&machine.path("album/nameless"), Mode::S_IRWXU).unwrap();
    mkfifo(&machine.path("album/a.txt"), Mode::S_IRWXU).unwrap();
    for existing in ["skip", "append", "overwrite"] {
        let refused = machine.cascadeck(&["run", "album", "--existing", existing]).expect_status(2);
        refused.assert_stderr_contains(&["album/a.txt is not a regular file"]);
    }
    assert_eq!(pictures_and_texts(&server), (0, 0));
}

#[test]
fn an_interrupt_while_a_pipe_is_read_leaves_none_of_it() {
    for (command, signal) in [("run", Signal::SIGTERM), ("run", Signal::SIGINT), ("plan", Signal::SIGTERM)] {
        let (_server, machine) = machine();
        mkfifo(&machine.path("pipe"), Mode::S_IRWXU).unwrap();
        let live = machine.start(&[command, "pipe"]);
        // Opens the pipe for reading too, so that opening it doesn't block until the program reads.
        let mut pipe = fs::OpenOptions::new().read(true).write(true).open(machine.path("pipe")).unwrap();
        pipe.write_all("{\"prompt\":\"What is a cat?\"}\n".repeat(1_000).as_bytes()).unwrap();
        let folder = machine.root().join(if command == "run" { "work/runs" } else { "tmp" });
        let copy = || {
            let folders = fs::read_dir(&folder).ok()?;
            folders.map(|entry| entry.unwrap().path().join("input.new")).find(|path| path.exists())
        };
        wait_until("a part of it is copied", || {
            copy().is_some_and(|copy| fs::metadata(copy).is_ok_and(|meta| meta.len() > 0))
        });
        live.send_signal(signal);
        let ended = live.wait();
        assert_eq!(ended.status.code(), Some(130), "{command}: {}", ended.stderr);
        assert_eq!(copy(), None, "{command}");
        drop(pipe);
    }
}
