//! fat-reader as it runs: the real program, in namespaces of its own and in its real profile.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod ordinary;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::time::{Duration, Instant};

    use protocol::unpack::{RENAMED_TOLD_MAX, UnpackFailure, UnpackNotice, UnpackSummary};
    use sys::profile::Resource;
    use sys::spawn::Ended;

    use super::harness::{Reader, Run, big_file, broken_names, small_tree, vast_tree};
    use super::ordinary::as_ordinary_user_too;

    #[test]
    fn a_tree_is_written_with_names_contents_times_and_modes() {
        as_ordinary_user_too("a_tree_is_written_with_names_contents_times_and_modes", || {
            let run = Reader::new(&small_tree()).run();
            assert_eq!(run.ended, Ended::Code(0));
            let expected = UnpackSummary { files: 3, directories: 2, bytes: 1_500_006, ..Default::default() };
            assert_eq!(run.last(), &UnpackNotice::Done(expected));
            assert_eq!(fs::read(run.path("a.txt")).unwrap(), b"first\n");
            assert_eq!(fs::read(run.path("dir/with space/ünïcödé 日本.bin")).unwrap(), vec![0x5A; 1_500_000]);
            assert_eq!(fs::read(run.path("dir/empty")).unwrap(), b"");
            let file = fs::metadata(run.path("a.txt")).unwrap();
            assert_eq!(file.permissions().mode() & 0o7777, 0o600);
            assert_eq!(file.mtime(), 1_709_164_800);
            let directory = fs::metadata(run.path("dir/with space")).unwrap();
            assert_eq!(directory.permissions().mode() & 0o7777, 0o700);
            assert_eq!(file.uid(), fs::metadata(run.path("")).unwrap().uid());
        });
    }

    #[test]
    fn progress_is_told_on_the_way() {
        let run = Reader::new(&big_file(20 << 20)).run();
        assert!(matches!(run.last(), UnpackNotice::Done(_)));
        let told = run.notices.iter().filter(|notice| matches!(notice, UnpackNotice::Progress(_))).count();
        assert!((2..=5).contains(&told), "{told} times for 20 MiB");
    }

    #[test]
    fn deep_directories_fit_into_the_profile() {
        let nofile =
            sandbox_profiles::FAT_READER.rlimits.iter().find(|limit| limit.resource == Resource::Nofile);
        assert!(nofile.unwrap().value > dvm_parser::fat::DEPTH_MAX as u64 + 8);
        let run = Reader::new(&vast_tree()).run();
        let UnpackNotice::Done(summary) = run.last() else { panic!("{:?}", run.last()) };
        assert_eq!(summary.directories, 99);
        assert_eq!(summary.files, 1_000);
    }

    /// 2 TiB in clusters of 8 KiB: almost as many clusters as FAT32 can have.
    #[test]
    fn the_largest_volume_fits_into_the_profile() {
        let (sectors, table_sectors, start) = (u32::MAX, 2_097_152_u32, 100_000_000_u32);
        let mut boot = [0; 512];
        let mut put = |at: usize, value: &[u8]| boot[at..at + value.len()].copy_from_slice(value);
        put(0, &[0xEB, 0x58, 0x90]);
        put(11, &[0, 2, 16, 32, 0, 1]);
        put(21, &[0xF8]);
        put(32, &sectors.to_le_bytes());
        put(36, &table_sectors.to_le_bytes());
        put(44, &start.to_le_bytes());
        put(510, &[0x55, 0xAA]);
        let cluster = |number: u32| (u64::from(32 + table_sectors) + u64::from(number - 2) * 16) * 512;
        let link = |number: u32| 32 * 512 + u64::from(number) * 4;
        let mut record = [0; 32];
        record[..11].copy_from_slice(b"LAST    TXT");
        let last = (sectors - 32 - table_sectors) / 16 + 1;
        record[20..22].copy_from_slice(&last.to_le_bytes()[2..]);
        record[26..28].copy_from_slice(&last.to_le_bytes()[..2]);
        record[28] = 4;
        let end = 0x0FFF_FFFF_u32.to_le_bytes();
        let pieces = [
            (0, &boot[..]),
            (link(start), &end),
            (link(last), &end),
            (cluster(start), &record),
            (cluster(last), b"last"),
        ];
        let run = Reader::sparse(u64::from(sectors) * 512, &pieces).run();
        let expected = UnpackSummary { files: 1, bytes: 4, ..Default::default() };
        assert_eq!(run.last(), &UnpackNotice::Done(expected), "{}", run.ended);
        assert_eq!(fs::read(run.path("LAST.TXT")).unwrap(), b"last");
    }

    #[test]
    fn changed_names_are_told_up_to_a_limit_and_counted() {
        let run = Reader::new(&broken_names(30)).run();
        let told = run.notices.iter().filter(|notice| matches!(notice, UnpackNotice::Renamed(_))).count();
        assert_eq!(told, RENAMED_TOLD_MAX as usize);
        let UnpackNotice::Done(summary) = run.last() else { panic!("{:?}", run.last()) };
        assert_eq!((summary.files, summary.renamed), (30, 30));
        let names: Vec<_> = fs::read_dir(run.path("")).unwrap().collect();
        assert_eq!(names.len(), 30);
    }

    #[test]
    fn l23_a_parent_that_does_not_listen_yet_still_gets_the_last_word() {
        let started = Reader::new(&broken_names(30)).start_with_little_room();
        started.wait_until_asleep();
        let run = started.finish();
        assert_eq!(run.ended, Ended::Code(0));
        assert!(matches!(run.last(), UnpackNotice::Done(_)), "{:?}", run.last());
    }

    #[test]
    fn garbage_nothing_and_a_partition_table_fail_with_their_reason() {
        as_ordinary_user_too("garbage_nothing_and_a_partition_table_fail_with_their_reason", || {
            let mut disk = vec![0; 1 << 20];
            disk[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x0C, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
            disk[510..512].copy_from_slice(&[0x55, 0xAA]);
            let noise: Vec<u8> =
                (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
            for (device, reason) in [
                (&[][..], UnpackFailure::NotFat),
                (&[0; 511], UnpackFailure::NotFat),
                (&[0; 4_096], UnpackFailure::NotFat),
                (&noise, UnpackFailure::NotFat),
                (&disk, UnpackFailure::PartitionTable),
            ] {
                let run = Reader::new(device).run();
                assert_eq!((run.last(), run.ended), (&UnpackNotice::Failed(reason), Ended::Code(1)));
                assert_eq!(fs::read_dir(run.path("")).unwrap().count(), 0);
            }
        });
    }

    #[test]
    fn a_device_that_shrank_is_reported() {
        let mut image = small_tree();
        image.truncate(image.len() - (1 << 20));
        assert_eq!(Reader::new(&image).run().last(), &UnpackNotice::Failed(UnpackFailure::NotFat));
    }

    #[test]
    fn l24_what_is_there_already_is_never_overwritten() {
        let reader = Reader::new(&small_tree());
        fs::write(reader.output().join("a.txt"), b"mine").unwrap();
        let run = reader.run();
        assert_eq!(run.last(), &UnpackNotice::Failed(UnpackFailure::OutputChanged));
        assert_eq!(fs::read(run.path("a.txt")).unwrap(), b"mine");
    }

    #[test]
    fn l12_a_link_in_the_way_is_not_followed() {
        for name in ["a.txt", "dir"] {
            let outside = tempfile::tempdir().unwrap();
            let reader = Reader::new(&small_tree());
            symlink(outside.path().join(name), reader.output().join(name)).unwrap();
            if name == "dir" {
                fs::create_dir(outside.path().join(name)).unwrap();
            }
            let run = reader.run();
            assert_eq!(run.last(), &UnpackNotice::Failed(UnpackFailure::OutputChanged), "{name}");
            assert!(!outside.path().join("a.txt").exists());
            assert!(!outside.path().join("dir/empty").exists());
        }
    }

    #[test]
    fn l12_a_link_that_races_with_the_reader_does_not_let_it_out() {
        let outside = tempfile::tempdir().unwrap();
        let image = vast_tree();
        for _ in 0..5 {
            let reader = Reader::new(&image);
            let started = reader.start();
            // Puts a link in place of the first directory as soon as it is there, again and again.
            let (first, aside) = (started.path("d"), started.path("aside"));
            let until = Instant::now() + Duration::from_millis(60);
            while Instant::now() < until {
                if fs::rename(&first, &aside).is_ok() {
                    symlink(outside.path(), &first).unwrap();
                    std::thread::sleep(Duration::from_micros(50));
                    fs::remove_file(&first).unwrap();
                    let _ = fs::rename(&aside, &first);
                }
            }
            drop(started.finish());
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something came out");
        }
    }

    #[test]
    fn a_parent_that_goes_away_ends_it() {
        let (ended, scratch) = Reader::new(&big_file(64 << 20)).run_alone();
        assert_eq!(ended, Ended::Code(2), "{ended}");
        let written = fs::metadata(scratch.path().join("output/big")).unwrap().len();
        assert!(written < 16 << 20, "{written} bytes were written for nobody");
    }

    #[test]
    fn it_runs_confined() {
        as_ordinary_user_too("it_runs_confined", || {
            let started = Reader::new(&big_file(64 << 20)).start();
            let status = started.confined_status();
            let field = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).expect(name);
                line.split_once(':').unwrap().1.trim().to_owned()
            };
            assert_eq!(field("Seccomp"), "2");
            assert_eq!(field("NoNewPrivs"), "1");
            assert_eq!(field("Threads"), "1");
            for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
            }
            drop(started);
        });
    }

    #[test]
    fn a_corrupted_volume_never_makes_it_crash() {
        let image = small_tree();
        for seed in 0..40_usize {
            let mut image = image.clone();
            // The boot sector, the first sectors of the table, the root directory and the first directories.
            let places = [seed * 7 % 512, 16_384 + seed * 3, image.len() / 2 % 512, 36 + seed % 12];
            image[places[seed % 4]] ^= 1 << (seed % 8);
            let run: Run = Reader::new(&image).run();
            assert!(matches!(run.ended, Ended::Code(0 | 1)), "seed {seed}: {}", run.ended);
        }
    }
}
