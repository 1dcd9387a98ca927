//! `restore-disposable` with a stand-in for `xl` that tells what it was given.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    const XL: &str = "#!/bin/sh\necho \"$1 $3\"\ncat \"$2\"\nstat -L -c %F \"$2\"\nexit 3\n";

    fn run(folder: &Path, name: &str, configuration: &str) -> Output {
        testkit::write_program(&folder.join("xl"), XL);
        std::fs::write(folder.join("c.cfg"), configuration).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_restore-disposable"));
        let (xl, file) = (folder.join("xl"), folder.join("c.cfg"));
        command.arg(xl).arg(name).arg(file).arg("/var/saved").output().unwrap()
    }

    #[test]
    fn xl_gets_the_configuration_with_the_name_behind_it_and_its_code_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let ran = run(folder.path(), "disp12", "memory = 192");
        let said = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(
            said, "restore /var/saved\nmemory = 192\nname = \"disp12\"\nregular file\n",
            "xl reads regular files only"
        );
        assert_eq!(ran.status.code(), Some(3));
    }

    #[test]
    fn a_name_that_could_mean_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", "disp", "work", "disp1\"\nkernel = \"/x", "disp-1", "disp 1", "disp12345678901"] {
            let ran = run(folder.path(), name, "");
            assert_eq!((ran.status.code(), ran.stdout.len()), (Some(64), 0), "{name}");
        }
        assert_eq!(run(folder.path(), "disp1234567890", "").status.code(), Some(3));
    }

    #[test]
    fn l19_configurations_of_0_1_65536_and_65537_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, code) in [(0, 3), (1, 3), (65_536, 3), (65_537, 1)] {
            let ran = run(folder.path(), "disp1", &"#".repeat(bytes));
            assert_eq!(ran.status.code(), Some(code), "{bytes}");
        }
    }
}
