//! The rules of `buf lint` (STANDARD, and comments) that matter here, so that they hold where `buf` is not installed.

use prost_reflect::prost_types::source_code_info::Location;
use prost_reflect::{DescriptorPool, EnumDescriptor, FileDescriptor, MessageDescriptor};

fn file() -> FileDescriptor {
    let pool = DescriptorPool::decode(swaprig_proto::DESCRIPTORS).unwrap();
    pool.get_file_by_name("ln_liquid_swap/v1/swap.proto")
        .unwrap()
}

/// All messages of a file, those inside others, too.
fn messages(file: &FileDescriptor) -> Vec<MessageDescriptor> {
    fn with_children(message: MessageDescriptor) -> Vec<MessageDescriptor> {
        let children = message.child_messages().flat_map(with_children);
        let children: Vec<_> = children.collect();
        std::iter::once(message).chain(children).collect()
    }
    file.messages().flat_map(with_children).collect()
}

fn enums(file: &FileDescriptor) -> Vec<EnumDescriptor> {
    let inner = messages(file);
    let inner = inner.iter().flat_map(MessageDescriptor::child_enums);
    file.enums().chain(inner).collect()
}

/// `SwapStatus` → `swap_status`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn is_lower_snake(name: &str) -> bool {
    !name.starts_with('_')
        && !name.ends_with('_')
        && !name.contains("__")
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn the_package_is_versioned_and_is_where_its_files_are() {
    let file = file();
    let package = file.package_name();
    let version = package
        .rsplit('.')
        .next()
        .unwrap()
        .strip_prefix('v')
        .unwrap();
    assert!(version.parse::<u32>().is_ok_and(|v| v > 0), "{package}");
    let directory = package.replace('.', "/");
    let name = file.name().strip_prefix(&format!("{directory}/")).unwrap();
    assert!(is_lower_snake(name.strip_suffix(".proto").unwrap()));
}

#[test]
fn services_and_methods_are_named_after_their_rules_and_share_no_messages() {
    let mut used = Vec::new();
    for service in file().services() {
        let name = service.name().to_owned();
        assert!(is_pascal(&name) && name.ends_with("Service"), "{name}");
        for method in service.methods() {
            let name = method.name();
            assert!(is_pascal(name), "{name}");
            assert_eq!(method.input().name(), format!("{name}Request"));
            assert_eq!(method.output().name(), format!("{name}Response"));
            used.push(method.input().full_name().to_owned());
            used.push(method.output().full_name().to_owned());
        }
    }
    let all = used.len();
    assert!(all > 0);
    used.sort();
    used.dedup();
    assert_eq!(used.len(), all, "a message belongs to one method");
}

#[test]
fn names_of_messages_fields_and_enum_values_follow_the_rules() {
    let file = file();
    for message in messages(&file) {
        assert!(is_pascal(message.name()), "{}", message.full_name());
        for field in message.fields() {
            assert!(is_lower_snake(field.name()), "{}", field.full_name());
            assert!(!field.is_required(), "{}", field.full_name());
        }
    }
    for kind in enums(&file) {
        assert!(is_pascal(kind.name()), "{}", kind.full_name());
        let prefix = format!("{}_", snake(kind.name()).to_uppercase());
        let zero = kind.get_value(0).expect("the first value is zero");
        assert_eq!(zero.name(), format!("{prefix}UNSPECIFIED"));
        let mut numbers = Vec::new();
        for value in kind.values() {
            let name = value.name();
            assert!(
                name.starts_with(&prefix) && name == name.to_uppercase(),
                "{name}"
            );
            numbers.push(value.number());
        }
        let all = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), all, "{} has an alias", kind.name());
    }
}

#[test]
fn everything_but_the_messages_of_methods_has_a_comment() {
    let file = file();
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations: &[Location] = &info.expect("compiled with its comments").location;
    let mut bare = Vec::new();
    let mut want = |path: &[i32], name: &str| {
        let location = locations.iter().find(|l| l.path == path);
        let comment = location.map_or("", Location::leading_comments);
        if comment.trim().is_empty() {
            bare.push(name.to_owned());
        }
    };
    for service in file.services() {
        want(service.path(), service.full_name());
        for method in service.methods() {
            want(method.path(), method.full_name());
        }
    }
    for message in messages(&file) {
        let name = message.full_name();
        if !name.ends_with("Request") && !name.ends_with("Response") {
            want(message.path(), name);
        }
        for field in message.fields() {
            want(field.path(), field.full_name());
        }
    }
    for kind in enums(&file) {
        want(kind.path(), kind.full_name());
        for value in kind.values() {
            want(value.path(), value.full_name());
        }
    }
    assert_eq!(bare, [""; 0], "these have no comment");
}
