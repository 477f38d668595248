//! Unpacking: packed bytes come back whole, in whatever pieces; cut ones give what is whole; damaged ones are noticed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use headrace_core::ingest::unpack::Unpacker;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Form {
    Gzip,
    Zstd,
}

fn packed(form: Form, plain: &[u8]) -> Vec<u8> {
    match form {
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Form::Zstd => zstd_packed(plain, &[zstd_safe::CParameter::ChecksumFlag(true)]),
    }
}

fn zstd_packed(plain: &[u8], parameters: &[zstd_safe::CParameter]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    for &parameter in parameters {
        context.set_parameter(parameter).unwrap();
    }
    let mut out = vec![0; zstd_safe::compress_bound(plain.len())];
    let length = context.compress2(&mut out[..], plain).unwrap();
    out.truncate(length);
    out
}

/// What came out, whether the file may end there, and the damage.
fn unpacked(bytes: &[u8], read_max: usize, write_max: usize) -> (Vec<u8>, bool, Option<String>) {
    let mut unpacker = Unpacker::of(bytes);
    let (mut all, mut out, mut start) = (Vec::new(), vec![0; write_max], 0);
    loop {
        let input = &bytes[start..bytes.len().min(start + read_max)];
        let step = unpacker.step(input, &mut out);
        all.extend_from_slice(&out[..step.written]);
        start += step.read;
        if step.damage.is_some() || (input.is_empty() && step.written == 0) {
            return (all, unpacker.is_whole(), step.damage);
        }
    }
}

/// Text that packs about as recordings do.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|row| format!("{} {{\"u\":{row},\"b\":\"{}\"}}\n", 17 * row, row * row % 977).into_bytes())
        .collect()
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Gzip), Just(Form::Zstd)]
}

proptest! {
    #[test]
    fn parts_in_a_row_are_one_stream_in_whatever_pieces(
        form in form(), counts in prop::collection::vec(0usize..400, 1..4), read_max in 1usize..5_000, write_max in 1usize..5_000
    ) {
        let parts: Vec<_> = counts.iter().map(|&count| lines(count)).collect();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| packed(form, part)).collect();
        prop_assert_eq!(unpacked(&bytes, read_max, write_max), (parts.concat(), true, None));
    }

    #[test]
    fn a_cut_file_gives_what_is_whole_and_is_not_whole(form in form(), count in 100usize..4_000, cut in 0.0f64..1.0, write_max in 1usize..200_000) {
        let plain = lines(count);
        let bytes = packed(form, &plain);
        let end = 4 + (cut * (bytes.len() - 5) as f64) as usize;
        let (all, is_whole, damage) = unpacked(&bytes[..end], 4_096, write_max);
        prop_assert!(plain.starts_with(&all));
        prop_assert_eq!((is_whole, damage), (false, None));
    }

    #[test]
    fn no_changed_byte_changes_the_content_unnoticed(form in form(), at in 0.0f64..1.0, flip in 1u8..=255) {
        let plain = lines(500);
        let mut bytes = packed(form, &plain);
        let position = 4 + (at * (bytes.len() - 5) as f64) as usize;
        bytes[position] ^= flip;
        let (all, is_whole, damage) = unpacked(&bytes, 4_096, 65_536);
        prop_assert!(all == plain || damage.is_some() || !is_whole);
    }

    #[test]
    fn any_bytes_after_the_magic_end(form in form(), rest in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let magic: &[u8] = match form { Form::Gzip => b"\x1f\x8b\x08\x00", Form::Zstd => b"\x28\xb5\x2f\xfd" };
        unpacked(&[magic, &rest].concat(), 100, 1_000);
    }
}

#[test]
fn damage_costs_nothing_of_the_blocks_before_it() {
    let plain = lines(200_000);
    for form in [Form::Gzip, Form::Zstd] {
        let mut bytes = packed(form, &plain);
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        let (all, _, damage) = unpacked(&bytes, 65_536, 1 << 20);
        assert!(damage.is_some(), "{form:?}");
        let same = all.iter().zip(&plain).take_while(|(own, other)| own == other).count();
        // A block is at most 128 KiB of zstd; where deflate notices that its bytes make no sense depends on them.
        assert!(
            same > plain.len() / 2 - (256 << 10),
            "{form:?}: {same} of {} bytes",
            plain.len()
        );
    }
}

#[test]
fn zero_bytes_after_a_gzip_member_are_padding() {
    let bytes = [
        packed(Form::Gzip, b"1 {}\n"),
        vec![0; 700],
        packed(Form::Gzip, b"2 {}\n"),
        vec![0; 3],
    ]
    .concat();
    assert_eq!(unpacked(&bytes, 64, 64), (b"1 {}\n2 {}\n".to_vec(), true, None));
}

#[test]
fn other_bytes_after_a_gzip_member_are_damage() {
    let bytes = [packed(Form::Gzip, b"1 {}\n"), b"2 {}\n".to_vec()].concat();
    let (all, _, damage) = unpacked(&bytes, 64, 64);
    assert_eq!(
        (all, damage.as_deref()),
        (b"1 {}\n".to_vec(), Some("incorrect header check"))
    );
}

#[test]
fn a_zstd_window_over_the_bound_is_refused() {
    let plain = vec![b' '; 1 << 10];
    let mut bytes = zstd_packed(&plain, &[zstd_safe::CParameter::ContentSizeFlag(false)]);
    // The byte after the descriptor says the window: 2^(10 + its five high bits).
    bytes[5] = (28 - 10) << 3;
    let (all, _, damage) = unpacked(&bytes, 64, 64);
    assert!(all.is_empty());
    assert!(damage.unwrap().contains("too much memory"));
}

#[test]
fn frames_without_content_are_skipped() {
    let skippable = [0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3].to_vec();
    let bytes = [skippable.clone(), packed(Form::Zstd, b"1 {}\n"), skippable].concat();
    assert_eq!(unpacked(&bytes, 4, 64), (b"1 {}\n".to_vec(), true, None));
}
