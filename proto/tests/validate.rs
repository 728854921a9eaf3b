//! The constraints of the API: each is enforced, each is known, and what is said of a broken one is short.

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::{Message, Name};
use prost_reflect::DescriptorPool;
use swaprig_proto::v1::{
    CreateSwapRequest, ForceRefundRequest, GetInventoryRequest, GetOfferRequest, GetSwapRequest,
    ListSwapsRequest, PauseSwapsRequest, ResumeSwapsRequest, SplitCoinsRequest,
    SubscribeSwapRequest, SwapStatus,
};
use swaprig_proto::validate::{Rules, check};

const UUID: &str = "0b4c2f0e-7d7a-4a57-9b6c-3f5f8a3f2d11";

fn asset() -> String {
    "5ac9f65c0efcc4775e0baec4ec03abdde22473cd3cf33c0419ca290e0751b225".to_owned()
}

fn create() -> CreateSwapRequest {
    CreateSwapRequest {
        request_id: UUID.to_owned(),
        asset_id: asset(),
        amount: 50_000,
        claim_pubkey: format!("02{}", "ab".repeat(32)),
        min_confirmations: 2,
        max_total_price_msat: 0,
        wait_for_confirmations: false,
    }
}

/// What is said of a message; empty when it is accepted.
fn said<M: Message + Name>(message: &M) -> String {
    check(message).map_or_else(|violations| violations.to_string(), |()| String::new())
}

#[test]
fn messages_within_their_constraints_are_accepted() {
    assert_eq!(said(&create()), "");
    for amount in [1, 2_100_000_000_000_000] {
        assert_eq!(said(&CreateSwapRequest { amount, ..create() }), "");
    }
    for min_confirmations in [0, 6] {
        assert_eq!(
            said(&CreateSwapRequest {
                min_confirmations,
                ..create()
            }),
            ""
        );
    }
    let request_id = UUID.to_uppercase();
    assert_eq!(
        said(&CreateSwapRequest {
            request_id,
            ..create()
        }),
        ""
    );
    assert_eq!(said(&GetOfferRequest { asset_id: asset() }), "");
    assert_eq!(said(&ListSwapsRequest::default()), "");
    let all_but_one = ListSwapsRequest {
        page_size: 1000,
        // 64 characters, more bytes.
        page_token: "é".repeat(64),
        status: SwapStatus::Failed.into(),
    };
    assert_eq!(said(&all_but_one), "");
    assert_eq!(said(&PauseSwapsRequest::default()), "");
    assert_eq!(said(&PauseSwapsRequest { asset_id: asset() }), "");
    assert_eq!(said(&GetInventoryRequest {}), "");
}

#[test]
fn every_broken_constraint_says_what_was_and_what_is_wanted() {
    let hex = "^[0-9a-f]{64}$";
    let uuid = "is not a UUID (8-4-4-4-12 hexadecimal digits)";
    let cases: Vec<(String, String)> = vec![
        (
            said(&CreateSwapRequest {
                amount: 0,
                ..create()
            }),
            "amount: 0 is not greater than 0".into(),
        ),
        (
            said(&CreateSwapRequest {
                amount: 2_100_000_000_000_001,
                ..create()
            }),
            "amount: 2100000000000001 is not at most 2100000000000000".into(),
        ),
        (
            said(&CreateSwapRequest {
                min_confirmations: 7,
                ..create()
            }),
            "min_confirmations: 7 is not at most 6".into(),
        ),
        (
            said(&CreateSwapRequest {
                claim_pubkey: "04ff".into(),
                ..create()
            }),
            "claim_pubkey: \"04ff\" does not match ^0[23][0-9a-f]{64}$".into(),
        ),
        (
            said(&GetOfferRequest {
                asset_id: asset().to_uppercase(),
            }),
            format!(
                "asset_id: \"{}\" does not match {hex}",
                asset().to_uppercase()
            ),
        ),
        (
            said(&GetOfferRequest {
                asset_id: format!("{}\n", asset()),
            }),
            format!("asset_id: \"{}\\n\" does not match {hex}", asset()),
        ),
        (
            said(&GetOfferRequest::default()),
            format!("asset_id: \"\" does not match {hex}"),
        ),
        (
            said(&PauseSwapsRequest {
                asset_id: "lbtc".into(),
            }),
            "asset_id: \"lbtc\" does not match ^([0-9a-f]{64})?$".into(),
        ),
        (
            said(&GetSwapRequest::default()),
            format!("swap_id: \"\" {uuid}"),
        ),
        (
            said(&SubscribeSwapRequest {
                swap_id: UUID.replace('-', ""),
            }),
            format!("swap_id: \"{}\" {uuid}", UUID.replace('-', "")),
        ),
        (
            said(&ForceRefundRequest {
                swap_id: format!("{{{UUID}}}"),
            }),
            format!("swap_id: \"{{{UUID}}}\" {uuid}"),
        ),
        (
            said(&ListSwapsRequest {
                page_token: "é".repeat(65),
                ..Default::default()
            }),
            "page_token: 65 characters are more than 64".into(),
        ),
        (
            said(&ListSwapsRequest {
                status: 6,
                ..Default::default()
            }),
            "status: 6 is not one of SwapStatus".into(),
        ),
        (
            said(&ListSwapsRequest {
                status: -1,
                ..Default::default()
            }),
            "status: -1 is not one of SwapStatus".into(),
        ),
        (
            said(&SplitCoinsRequest {
                asset_id: asset(),
                coin_amount: 0,
                coins: 501,
            }),
            "coin_amount: 0 is not greater than 0; coins: 501 is not at most 500".into(),
        ),
    ];
    for (said, wanted) in cases {
        assert_eq!(said, wanted);
    }
}

#[test]
fn all_violations_are_told_sorted_by_field() {
    let told = check(&CreateSwapRequest::default()).expect_err("everything is missing");
    let fields: Vec<&str> = told.told().iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["amount", "asset_id", "claim_pubkey", "request_id"]);
}

#[test]
fn a_hostile_text_is_neither_echoed_nor_slow() {
    for text in [
        "a".repeat(4 << 20),
        "\u{10ffff}".repeat(1 << 20),
        "\0\r\n".repeat(1 << 20),
    ] {
        let request = CreateSwapRequest {
            request_id: text.clone(),
            asset_id: text.clone(),
            claim_pubkey: text,
            amount: u64::MAX,
            min_confirmations: u32::MAX,
            max_total_price_msat: u64::MAX,
            wait_for_confirmations: true,
        };
        let told = said(&request);
        assert!(told.len() < 1000, "{} bytes: {told}", told.len());
        assert!(told.bytes().all(|b| (b' '..=b'~').contains(&b)), "{told}");
        assert!(told.contains("characters)"), "{told}");
    }
}

/// Fields of requests that have no rule, and why they need none.
const UNRULED: [(&str, &str, &str); 2] = [
    (
        "CreateSwapRequest",
        "max_total_price_msat",
        "a limit of any size is a limit, and 0 is none",
    ),
    ("CreateSwapRequest", "wait_for_confirmations", "a bool"),
];

#[test]
fn every_field_of_every_request_has_a_rule_or_a_reason() {
    let pool = DescriptorPool::decode(swaprig_proto::DESCRIPTORS).unwrap();
    let rules = Rules::read(&pool).unwrap();
    let mut without = BTreeSet::new();
    let mut methods = 0;
    for method in pool
        .services()
        .flat_map(|s| s.methods().collect::<Vec<_>>())
    {
        methods += 1;
        let request = method.input();
        for field in request.fields() {
            if !rules.has_rule(request.full_name(), field.name()) {
                without.insert((request.name().to_owned(), field.name().to_owned()));
            }
        }
    }
    let listed: BTreeSet<_> = UNRULED
        .iter()
        .map(|(message, field, _)| ((*message).to_owned(), (*field).to_owned()))
        .collect();
    assert!(methods > 0);
    assert_eq!(without, listed);
}

/// Compiles files of a test beside `validate.proto`, which may be changed.
fn compiled(validate: &str, annotated: &str) -> DescriptorPool {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("buf/validate")).unwrap();
    std::fs::write(at("buf/validate/validate.proto"), validate).unwrap();
    let file = format!(
        "syntax = \"proto3\"; package t; import \"buf/validate/validate.proto\"; {annotated}"
    );
    std::fs::write(at("t.proto"), file).unwrap();
    let set = protox::Compiler::new([dir.path()])
        .unwrap()
        .include_imports(true)
        .open_files(["t.proto"])
        .unwrap()
        .encode_file_descriptor_set();
    DescriptorPool::decode(set.as_slice()).unwrap()
}

const VALIDATE: &str = include_str!("../proto/buf/validate/validate.proto");

/// `validate.proto` with one more rule for texts and one more kind of rules.
fn richer() -> String {
    VALIDATE
        .replace(
            "optional uint64 max_len = 3;",
            "optional uint64 max_len = 3; optional uint64 min_len = 2;",
        )
        .replace(
            "EnumRules enum = 16;",
            "EnumRules enum = 16; BoolRules bool = 13;",
        )
        + "message BoolRules { optional bool const = 1; }
           extend google.protobuf.MessageOptions { optional MessageRules message = 1159; }
           message MessageRules { optional bool disabled = 1; }
           extend google.protobuf.OneofOptions { optional OneofRules oneof = 1159; }
           message OneofRules { optional bool required = 1; }"
}

#[test]
fn an_annotation_that_is_not_known_is_an_error() {
    let v = "(buf.validate.field)";
    let cases = [
        (
            format!("message M {{ string a = 1 [{v}.string.min_len = 1]; }}"),
            "t.M.a: rule `string.min_len` is not supported by the checker",
        ),
        (
            format!("message M {{ bool a = 1 [{v}.bool.const = true]; }}"),
            "t.M.a: rules `bool` are not for a field of type bool",
        ),
        (
            format!("message M {{ uint64 a = 1 [{v}.uint32.gt = 1]; }}"),
            "t.M.a: rules `uint32` are not for a field of type uint64",
        ),
        (
            format!("message M {{ repeated string a = 1 [{v}.string.max_len = 1]; }}"),
            "t.M.a: rules for repeated fields are not supported",
        ),
        (
            format!("message M {{ uint32 a = 1 [{v}.uint32 = {{gt: 5, lte: 5}}]; }}"),
            "t.M.a: gt 5 is not below lte 5",
        ),
        (
            format!("message M {{ string a = 1 [{v}.string.pattern = \"(\"]; }}"),
            "t.M.a: pattern \"(\":",
        ),
        (
            "message M { option (buf.validate.message).disabled = true; }".to_owned(),
            "t.M: buf.validate.message is not supported",
        ),
        (
            "message M { oneof o { option (buf.validate.oneof).required = true; bool a = 1; } }"
                .to_owned(),
            "t.M.o: buf.validate.oneof is not supported",
        ),
    ];
    for (annotated, wanted) in cases {
        let error = Rules::read(&compiled(&richer(), &annotated)).expect_err(&annotated);
        let error = error.to_string();
        assert!(error.starts_with(wanted), "{error}\nwanted {wanted}");
    }
}

/// Annotations that are in the file, but whose meaning the pool does not have: as when validate.proto lost a rule.
#[test]
fn an_annotation_without_a_definition_is_an_error() {
    let v = "(buf.validate.field)";
    let cases = [
        (
            format!("message M {{ string a = 1 [{v}.string.min_len = 1]; }}"),
            "t.M.a: rule 2 of `string` is not in validate.proto",
        ),
        (
            format!("message M {{ bool a = 1 [{v}.bool.const = true]; }}"),
            "t.M.a: rule 13 of `field` is not in validate.proto",
        ),
        (
            "message M { option (buf.validate.message).disabled = true; }".to_owned(),
            "t.M: option 1159 is not known",
        ),
    ];
    let plain = compiled(VALIDATE, "");
    for (annotated, wanted) in cases {
        let rich = compiled(&richer(), &annotated);
        let mut pool = DescriptorPool::new();
        for file in plain.files().filter(|f| f.name() != "t.proto") {
            pool.decode_file_descriptor_proto(file.encode_to_vec().as_slice())
                .unwrap();
        }
        let file = rich.get_file_by_name("t.proto").unwrap().encode_to_vec();
        pool.decode_file_descriptor_proto(file.as_slice()).unwrap();
        let error = Rules::read(&pool).expect_err(&annotated).to_string();
        assert_eq!(error, wanted);
    }
}

#[test]
fn every_rule_of_validate_proto_is_known() {
    let v = "(buf.validate.field)";
    // One field for each rule that the file has; the count below notices one that is missing here.
    let annotated = format!(
        "message M {{
            uint32 a = 1 [{v}.uint32.lte = 3];
            uint32 b = 2 [{v}.uint32.gt = 3];
            uint64 c = 3 [{v}.uint64.lte = 3];
            uint64 d = 4 [{v}.uint64.gt = 3];
            string e = 5 [{v}.string.max_len = 3];
            string f = 6 [{v}.string.pattern = \"^x$\"];
            string g = 7 [{v}.string.uuid = true];
            E h = 8 [{v}.enum.defined_only = true];
        }}
        enum E {{ E_UNSPECIFIED = 0; }}"
    );
    let pool = compiled(VALIDATE, &annotated);
    let rules = Rules::read(&pool).unwrap();
    let message = pool.get_message_by_name("t.M").unwrap();
    assert!(message.fields().all(|f| rules.has_rule("t.M", f.name())));
    let known = pool
        .all_messages()
        .filter(|m| m.package_name() == "buf.validate" && m.name() != "FieldRules")
        .map(|m| m.fields().len())
        .sum::<usize>();
    assert_eq!(known, message.fields().len());
}

#[test]
fn messages_inside_messages_are_checked_and_absent_fields_are_not() {
    let annotated = "message M {
            In one = 1; repeated In many = 2; map<string, In> named = 3;
            optional uint32 maybe = 4 [(buf.validate.field).uint32.gt = 0];
        }
        message In { uint32 a = 1 [(buf.validate.field).uint32.lte = 3]; M again = 2; }";
    let rules = Rules::read(&compiled(VALIDATE, annotated)).unwrap();
    assert_eq!(rules.check_encoded("t.M", &[]), Ok(()));
    let told = |encoded: &[u8]| rules.check_encoded("t.M", encoded).unwrap_err().to_string();
    // one.a = 4; many[1].a = 5; named["k"].a = 6; maybe = 0; many[2].again.one.a = 7
    let encoded = [
        &[0x0a, 2, 0x08, 4][..],
        &[0x12, 0],
        &[0x12, 2, 0x08, 5],
        &[0x12, 6, 0x12, 4, 0x0a, 2, 0x08, 7],
        &[0x1a, 7, 0x0a, 1, b'k', 0x12, 2, 0x08, 6],
        &[0x20, 0],
    ]
    .concat();
    assert_eq!(
        told(&encoded),
        "many[1].a: 5 is not at most 3; many[2].again.one.a: 7 is not at most 3; \
         maybe: 0 is not greater than 0; named[\"k\"].a: 6 is not at most 3; one.a: 4 is not at most 3"
    );
    let many = [0x12, 2, 0x08, 4].repeat(100);
    assert!(told(&many).ends_with("; and 84 more"));
    assert_eq!(told(&[0x0a]), "t.M: this message does not decode");
    let other = rules.check_encoded("t.Other", &[]).unwrap_err();
    assert_eq!(other.to_string(), "t.Other: this message is not known");
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Texts near the border of being right.
fn near(right: &'static str) -> impl Strategy<Value = String> {
    let changed = (0..=right.len(), any::<char>(), 0..3_u8).prop_map(move |(at, c, how)| {
        let mut chars: Vec<char> = right.chars().collect();
        match how {
            0 => chars.insert(at, c),
            1 if at < chars.len() => chars[at] = c,
            _ => chars.truncate(at),
        }
        chars.into_iter().collect::<String>()
    });
    prop_oneof![
        Just(right.to_owned()),
        changed,
        any::<String>(),
        Just(right.to_uppercase())
    ]
}

proptest! {
    /// What the checker accepts is exactly what the constraints say, written down a second time by other means.
    #[test]
    fn a_create_request_is_judged_as_written(
        request_id in near(UUID),
        asset_id in near("5ac9f65c0efcc4775e0baec4ec03abdde22473cd3cf33c0419ca290e0751b225"),
        amount in prop_oneof![0..3_u64, 2_099_999_999_999_999..2_100_000_000_000_002_u64, any::<u64>()],
        claim_pubkey in near("025ac9f65c0efcc4775e0baec4ec03abdde22473cd3cf33c0419ca290e0751b225"),
        min_confirmations in prop_oneof![0..9_u32, any::<u32>()],
        max_total_price_msat: u64,
        wait_for_confirmations: bool,
    ) {
        let mut wrong = Vec::new();
        if amount == 0 || amount > 2_100_000_000_000_000 {
            wrong.push("amount");
        }
        if asset_id.len() != 64 || !is_hex(&asset_id) {
            wrong.push("asset_id");
        }
        let key = claim_pubkey.strip_prefix("02").or(claim_pubkey.strip_prefix("03"));
        if !key.is_some_and(|key| key.len() == 64 && is_hex(key)) {
            wrong.push("claim_pubkey");
        }
        if min_confirmations > 6 {
            wrong.push("min_confirmations");
        }
        let parsed = uuid::Uuid::try_parse(&request_id);
        if !parsed.is_ok_and(|id| id.to_string() == request_id.to_lowercase()) {
            wrong.push("request_id");
        }
        let request = CreateSwapRequest {
            request_id, asset_id, amount, claim_pubkey, min_confirmations, max_total_price_msat, wait_for_confirmations,
        };
        let told = check(&request).map_or_else(|v| v.told().to_vec(), |()| Vec::new());
        let fields: Vec<_> = told.iter().map(|v| v.field.as_str()).collect();
        prop_assert_eq!(fields, wrong);
    }

    /// A list request, too; numbers of enums that do not exist survive decoding and are refused.
    #[test]
    fn a_list_request_is_judged_as_written(
        page_size in prop_oneof![998..1003_u32, any::<u32>()],
        page_token in "\\PC{0,70}",
        status in prop_oneof![-2..8_i32, any::<i32>()],
    ) {
        let ok = page_size <= 1000 && page_token.chars().count() <= 64 && (0..=5).contains(&status);
        let request = ListSwapsRequest { page_size, page_token, status };
        prop_assert_eq!(check(&request).is_ok(), ok);
    }

    /// Whatever decodes is judged without a panic, in few words.
    #[test]
    fn random_bytes_are_judged_in_few_words(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let pool = DescriptorPool::decode(swaprig_proto::DESCRIPTORS).unwrap();
        let rules = Rules::read(&pool).unwrap();
        for message in pool.all_messages().filter(|m| m.package_name() == "ln_liquid_swap.v1") {
            if let Err(violations) = rules.check_encoded(message.full_name(), &bytes) {
                prop_assert!(violations.to_string().len() < 4000);
            }
        }
    }
}

#[test]
fn every_request_has_its_full_name() {
    assert_eq!(
        ResumeSwapsRequest::full_name(),
        "ln_liquid_swap.v1.ResumeSwapsRequest"
    );
    assert_eq!(said(&ResumeSwapsRequest::default()), "");
}
