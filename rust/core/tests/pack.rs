//! Packing: what went in, in whatever pieces, comes out; a changed bit is noticed, or changes nothing.

use headrace_core::ingest::pack::ZstdPacker;
use headrace_core::ingest::unpack::Unpacker;
use proptest::prelude::*;

fn packed(packer: &mut ZstdPacker, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut all: Vec<u8> = pieces.iter().flat_map(|piece| packer.pack(piece, false)).collect();
    all.extend(packer.pack(b"", true));
    all
}

/// What comes out, if the file is whole.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut unpacker = Unpacker::of(bytes);
    let (mut all, mut out, mut start) = (Vec::new(), vec![0; 1 << 16], 0);
    loop {
        let step = unpacker.step(&bytes[start..], &mut out);
        all.extend_from_slice(&out[..step.written]);
        start += step.read;
        if step.damage.is_some() {
            return None;
        }
        if start == bytes.len() && step.written == 0 {
            return unpacker.is_whole().then_some(all);
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = prop::collection::vec(prop::sample::select(b"0123456789.,\n\"btcusdt".to_vec()), 0..3_000);
    prop::collection::vec(text, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_in_any_pieces_come_back_whole(frames in prop::collection::vec(pieces(), 1..4)) {
        let mut packer = ZstdPacker::default();
        let all: Vec<u8> = frames.iter().flat_map(|own| packed(&mut packer, own)).collect();
        prop_assert_eq!(unpacked(&all), Some(frames.concat().concat()));
    }

    #[test]
    fn a_changed_bit_is_noticed_or_changes_nothing(plain in pieces(), place in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut bytes = packed(&mut ZstdPacker::default(), &plain);
        // Without its first bytes it is no zstd, and passes as it is.
        let place = 4 + place.index(bytes.len() - 4);
        bytes[place] ^= 1_u8 << bit;
        let found = unpacked(&bytes);
        prop_assert!(found.is_none() || found == Some(plain.concat()));
    }
}

#[test]
fn more_than_the_librarys_buffer_is_packed_by_one_call() {
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    assert_eq!(unpacked(&ZstdPacker::default().pack(&noise, true)), Some(noise));
}
