//! Each way in which chains, files and directories can be wrong, one at a time.

use super::super::{Damage, FatError, Limit, Modified};
use super::builder::{Image, SHORT, directory, file, long_file, long_name};
use super::{Node, error, names, read};

#[test]
fn a_well_formed_volume_is_read() {
    for mut image in Image::all() {
        image.chain(&[5, 6, 9]);
        image.chain(&[7]);
        image.cluster(5).fill(b'x');
        image.cluster(6).fill(b'y');
        image.cluster(9).fill(b'z');
        let mut dated = file(b"IN      TXT", 0, 0);
        dated[24..26].copy_from_slice(&(44_u16 << 9 | 2 << 5 | 29).to_le_bytes());
        image.cluster_records(7, &[directory(b".          ", 7), directory(b"..         ", 0), dated]);
        image.root_records(&[file(b"A       BIN", 5, 1_025), directory(b"D          ", 7)]);
        let (tree, tally) = read(&image.bytes).unwrap();
        let contents = [vec![b'x'; 512], vec![b'y'; 512], vec![b'z'; 1]].concat();
        assert_eq!(tree.nodes["A.BIN"], Node::File(contents, None));
        assert_eq!(tree.nodes["D"], Node::Directory(None));
        assert_eq!(tree.nodes["D/IN.TXT"], Node::File(vec![], Some(Modified { unix_s: 1_709_164_800 })));
        assert_eq!((tally.files, tally.directories, tally.bytes), (2, 1, 1_025));
        assert_eq!((tally.renamed, tally.overlong), (0, 0));
    }
}

#[test]
fn a_file_whose_chain_is_a_loop_is_refused() {
    for mut image in Image::all() {
        image.link(5, 6);
        image.link(6, 5);
        image.root_records(&[file(b"A          ", 5, 40 * 512)]);
        assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ClusterUsedTwice));
        image.link(5, 5);
        assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ClusterUsedTwice));
    }
}

#[test]
fn a_directory_whose_chain_is_a_loop_is_refused() {
    for mut image in Image::all() {
        image.link(5, 6);
        image.link(6, 5);
        let deleted = [0xE5; 32];
        image.cluster_records(5, &[deleted; 16]);
        image.cluster_records(6, &[deleted; 16]);
        image.root_records(&[directory(b"D          ", 5)]);
        assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ClusterUsedTwice));
    }
}

#[test]
fn files_and_directories_that_share_a_cluster_are_refused() {
    for mut image in Image::all() {
        image.chain(&[5, 8]);
        image.chain(&[6, 8]);
        let twice = FatError::Damaged(Damage::ClusterUsedTwice);
        image.root_records(&[file(b"A          ", 5, 600), file(b"B          ", 6, 600)]);
        assert_eq!(error(&image.bytes), twice);
        image.root_records(&[file(b"A          ", 5, 600), file(b"B          ", 5, 600)]);
        assert_eq!(error(&image.bytes), twice);
        image.root_records(&[file(b"A          ", 5, 600), directory(b"B          ", 5)]);
        assert_eq!(error(&image.bytes), twice);
        image.root_records(&[directory(b"A          ", 5), directory(b"B          ", 5)]);
        assert_eq!(error(&image.bytes), twice);
    }
}

#[test]
fn a_directory_that_contains_itself_or_the_root_is_refused() {
    for mut image in Image::all() {
        image.chain(&[5]);
        image.cluster_records(5, &[directory(b"SELF       ", 5)]);
        image.root_records(&[directory(b"D          ", 5)]);
        assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ClusterUsedTwice));
    }
    let mut image = Image::fat32();
    image.root_records(&[directory(b"ROOT       ", 2)]);
    assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ClusterUsedTwice));
}

#[test]
fn a_file_larger_than_the_volume_is_refused_before_it_begins() {
    for mut image in Image::all() {
        image.chain(&[5]);
        let size_max = image.geometry.cluster_count * 512;
        image.root_records(&[file(b"A          ", 5, size_max)]);
        assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ChainTooShort));
        for bytes in [size_max + 1, u32::MAX] {
            image.root_records(&[file(b"A          ", 5, bytes)]);
            assert_eq!(error(&image.bytes), FatError::Damaged(Damage::FileLargerThanVolume));
        }
    }
}

#[test]
fn l19_chains_of_one_cluster_too_few_and_too_many() {
    for mut image in Image::all() {
        image.chain(&[5, 6]);
        for (bytes, overlong) in [(512, 1), (513, 0), (1_024, 0)] {
            image.root_records(&[file(b"A          ", 5, bytes)]);
            let (_, tally) = read(&image.bytes).unwrap();
            assert_eq!((tally.bytes, tally.overlong), (u64::from(bytes), overlong));
        }
        image.root_records(&[file(b"A          ", 5, 1_025)]);
        assert_eq!(error(&image.bytes), FatError::Damaged(Damage::ChainTooShort));
        // An empty file may have no cluster; if it has one, that is said.
        image.root_records(&[file(b"A          ", 5, 0), file(b"B          ", 0, 0)]);
        assert_eq!(read(&image.bytes).unwrap().1.overlong, 1);
    }
}

#[test]
fn files_and_directories_that_begin_nowhere_are_refused() {
    for mut image in Image::all() {
        let beyond = image.geometry.cluster_count + 2;
        for start in [0, 1, beyond, 0xFFFF] {
            for record in [file(b"A          ", start, 1), directory(b"A          ", start)] {
                image.root_records(&[record]);
                assert_eq!(error(&image.bytes), FatError::Damaged(Damage::StartCluster), "{start}");
            }
        }
        image.chain(&[beyond - 1]);
        image.root_records(&[file(b"A          ", beyond - 1, 512)]);
        assert!(read(&image.bytes).is_ok(), "the last cluster is one");
    }
}

#[test]
fn chains_that_lead_nowhere_are_refused() {
    for mut image in Image::all() {
        let beyond = image.geometry.cluster_count + 2;
        for next in [0, 1, image.bad(), beyond] {
            image.link(5, next);
            for record in [file(b"A          ", 5, 1), file(b"A          ", 5, 513)] {
                image.root_records(&[record]);
                assert_eq!(error(&image.bytes), FatError::Damaged(Damage::Link), "{next:#x}");
            }
        }
    }
}

#[test]
fn directories_nested_too_deep_are_refused() {
    let mut image = Image::fat16();
    let depth = |image: &mut Image, levels: u32| {
        image.root_records(&[directory(b"D          ", 10)]);
        for level in 0..levels - 1 {
            image.chain(&[10 + level]);
            image.cluster_records(10 + level, &[directory(b"D          ", 11 + level)]);
        }
        image.chain(&[10 + levels - 1]);
        image.cluster(10 + levels - 1).fill(0);
    };
    depth(&mut image, 99);
    assert_eq!(read(&image.bytes).unwrap().1.directories, 99);
    depth(&mut image, 100);
    assert_eq!(error(&image.bytes), FatError::Limit(Limit::Depth));
}

#[test]
fn a_path_too_long_is_refused() {
    let mut image = Image::fat16();
    let name = "n".repeat(255);
    let mut records = long_name(&name.encode_utf16().collect::<Vec<_>>(), SHORT);
    records.push(directory(SHORT, 0));
    let place = |image: &mut Image, first: u32, start: u32| {
        let mut records = records.clone();
        *records.last_mut().unwrap() = directory(SHORT, start);
        image.chain(&[first, first + 1]);
        image.cluster_records(first, &records[..16]);
        image.cluster(first + 1).fill(0);
        image.cluster_records(first + 1, &records[16..]);
    };
    image.root_records(&[directory(b"D          ", 10)]);
    for level in 0..13 {
        place(&mut image, 10 + 2 * level, 12 + 2 * level);
    }
    image.chain(&[36]);
    // 1 + 13 * 256 bytes lead to this directory, and a separator follows.
    for (len, fits) in [(254, true), (255, false)] {
        image.cluster(36).fill(0);
        let records = long_file(&"m".repeat(len), SHORT, 0, 0);
        image.chain(&[36, 37]);
        image.cluster_records(36, &records[..16]);
        image.cluster_records(37, &records[16..]);
        let expected = if fits { Ok(1) } else { Err(FatError::Limit(Limit::PathBytes)) };
        assert_eq!(read(&image.bytes).map(|(_, tally)| tally.files), expected, "{len}");
    }
}

#[test]
fn a_directory_beyond_its_limit_is_refused() {
    // 65 536 records fill 4 096 clusters of one sector.
    let mut image = Image::fat16();
    let clusters: Vec<u32> = (10..10 + 4_097).collect();
    for &cluster in &clusters {
        image.cluster_records(cluster, &[[0xE5; 32]; 16]);
    }
    image.root_records(&[directory(b"D          ", 10)]);
    image.chain(&clusters[..4_096]);
    assert!(read(&image.bytes).is_ok());
    image.chain(&clusters);
    assert_eq!(error(&image.bytes), FatError::Limit(Limit::DirectoryBytes));
    image.cluster(10 + 4_096).fill(0);
    assert_eq!(error(&image.bytes), FatError::Limit(Limit::DirectoryBytes));
    image.cluster(10 + 4_095).fill(0);
    assert!(read(&image.bytes).is_ok(), "what lies behind the end is not read");
}

#[test]
fn labels_deleted_records_and_dots_are_skipped() {
    for mut image in Image::all() {
        let mut label = file(b"WORK       ", 0, 0);
        label[11] = 0x08;
        let deleted = file(b"\xE5LD        ", 1, 77);
        let end = [0; 32];
        image.root_records(&[
            label,
            deleted,
            directory(b".          ", 1),
            directory(b"..         ", 1),
            file(b"KEEP       ", 0, 0),
            end,
            file(b"BEHIND     ", 1, 1),
        ]);
        assert_eq!(names(&image), ["KEEP"]);
    }
}
