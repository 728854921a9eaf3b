//! Whatever arrives over the network: parsers answer, they do not panic, and what they print they read back.

use ldk_server_protos::Message;
use ldk_server_protos::api::Bolt11SendRequest;
use ldk_server_protos::auth::{ApiKey, HmacScope};
use ldk_server_protos::events::EventEnvelope;
use ldk_server_protos::grpc::{self, FrameReader};
use ldk_server_protos::macaroon::Macaroon;
use proptest::prelude::*;

proptest! {
    #[test]
    fn one_frame(body in any::<Vec<u8>>()) {
        if let Ok(payload) = grpc::decode_unary(&body) {
            prop_assert_eq!(payload, &body[grpc::FRAME_HEADER_LEN..]);
        }
    }

    #[test]
    fn a_message_survives_its_frame(invoice in ".{0,200}", amount in any::<Option<u64>>()) {
        let message = Bolt11SendRequest { invoice, amount_msat: amount, route_parameters: None };
        let frame = grpc::encode_message(&message);
        let decoded = Bolt11SendRequest::decode(grpc::decode_unary(&frame).unwrap()).unwrap();
        prop_assert_eq!(decoded, message);
    }

    #[test]
    fn a_stream_of_anything(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut reader = FrameReader::new(1 << 16);
        'stream: for chunk in &chunks {
            reader.push(chunk);
            loop {
                match reader.next_frame() {
                    Ok(Some(payload)) => prop_assert!(payload.len() <= 1 << 16),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        let _ = reader.finish();
    }

    #[test]
    fn frames_survive_being_cut_anywhere(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        cut in 1_usize..9,
    ) {
        let mut stream = Vec::new();
        for payload in &payloads {
            stream.push(0);
            stream.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            stream.extend(payload);
        }
        let mut reader = FrameReader::new(40);
        let mut read = Vec::new();
        for chunk in stream.chunks(cut) {
            reader.push(chunk);
            while let Some(payload) = reader.next_frame().unwrap() {
                read.push(payload.to_vec());
            }
        }
        prop_assert_eq!(reader.finish(), Ok(()));
        prop_assert_eq!(read, payloads);
    }

    #[test]
    fn status_texts(header in any::<Vec<u8>>(), text in any::<String>()) {
        let _ = grpc::percent_decode(&header);
        let encoded = grpc::percent_encode(&text);
        prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        prop_assert_eq!(grpc::percent_decode(encoded.as_bytes()), text);
    }

    #[test]
    fn status_and_timeout_headers(header in any::<Vec<u8>>(), millis in 0_u64..1 << 40) {
        let _ = grpc::Code::parse(&header);
        let _ = grpc::parse_timeout(&header);
        let timeout = std::time::Duration::from_millis(millis);
        let read = grpc::parse_timeout(grpc::format_timeout(timeout).as_bytes()).unwrap();
        prop_assert!(read <= timeout && timeout - read < std::time::Duration::from_secs(1) || millis > 99_999_999_000);
    }

    #[test]
    fn macaroons(mut bytes in any::<Vec<u8>>(), text in any::<String>()) {
        let _ = Macaroon::parse_hex(&text);
        // With the right first byte the parser gets further.
        for version in [None, Some(2)] {
            if let (Some(version), Some(first)) = (version, bytes.first_mut()) {
                *first = version;
            }
            if let Ok(macaroon) = Macaroon::parse(&bytes) {
                prop_assert_eq!(Macaroon::parse(&macaroon.to_bytes()), Ok(macaroon));
            }
        }
    }

    #[test]
    fn macaroons_made_of_fields(
        identifier in prop::collection::vec(any::<u8>(), 0..300),
        location in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        caveats in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..8),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut bytes = vec![2];
        if let Some(location) = &location {
            field(&mut bytes, 1, location);
        }
        field(&mut bytes, 2, &identifier);
        bytes.extend([0, 0, 6, 32]);
        bytes.extend([9; 32]);
        let mut macaroon = Macaroon::parse(&bytes).unwrap();
        for caveat in &caveats {
            macaroon = macaroon.with_caveat(caveat).unwrap();
        }
        let mut bytes = macaroon.to_bytes();
        prop_assert_eq!(macaroon.caveats().collect::<Vec<_>>(), caveats);
        prop_assert_eq!(Macaroon::parse_hex(&macaroon.to_hex()), Ok(macaroon));
        if let Some((index, value)) = damage {
            *index.get_mut(&mut bytes) = value;
            let _ = Macaroon::parse(&bytes);
        }
    }

    #[test]
    fn auth_headers(header in any::<String>(), digits in "HMAC [0-9]{1,22}:[0-9a-f]{0,70}", body in any::<Vec<u8>>()) {
        let key = ApiKey::from_bytes([1; 32]);
        for header in [header, digits] {
            prop_assert!(key.verify(HmacScope::TimestampAndBody, &header, 1_780_000_000, &body).is_err());
        }
    }

    #[test]
    fn events(bytes in any::<Vec<u8>>(), number in prop::sample::select(vec![2_u8, 3, 4, 6, 7, 8])) {
        let mut envelope = Vec::new();
        field(&mut envelope, number << 3 | 2, &bytes);
        if let Ok(envelope) = EventEnvelope::decode(&envelope[..]) {
            let _ = envelope.decode_event();
        }
    }
}

fn field(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    bytes.push(tag);
    prost::encoding::encode_varint(content.len() as u64, bytes);
    bytes.extend(content);
}
