//! The declarations from which the language is made: `step!`, `entity!` and `words!`.

/// Declares a step: one struct from which the parser, the schema, the documentation and the Rust call come.
///
/// The first field carries the step's name. Fields of the first block must be there; those of the `optional`
/// block have a default. `within` is the time that the step may take when nothing else says; `output` is a
/// function that tells from the step's table and the file's servers what `as` names, where that depends on it; `keys` is a
/// function `fn(&mut StepCx) -> bool` for rules about which keys go together, `check` a function
/// `fn(&Step, &mut StepCx) -> bool` for rules between values. `new` takes the required fields.
///
/// ```
/// use swaprig_scenarios::lang::Party;
/// use swaprig_units::Sat;
///
/// swaprig_scenarios::step! {
///     /// Burns coins of a party.
///     pub struct Burn("burn") -> () {
///         /// Whose coins.
///         burn: Party,
///         /// How much.
///         amount: Sat,
///     } optional {
///         /// Whether to mine a block afterwards.
///         confirm: bool = true,
///     }
/// }
/// let step = Burn { confirm: false, ..Burn::new("alice", Sat(500)) };
/// # assert_eq!(step.amount, Sat(500));
/// ```
#[macro_export]
macro_rules! step {
    (
        $(#[doc = $doc:literal])*
        pub struct $step:ident($name:literal) -> $output:ty {
            $($(#[doc = $required_doc:literal])* $required:ident: $required_ty:ty,)*
        } optional {
            $($(#[doc = $optional_doc:literal])* $optional:ident: $optional_ty:ty = $default:expr,)*
        }
        $(within $within:expr;)?
        $(output $output_of:path;)?
        $(keys $keys:path;)?
        $(check $check:path;)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub struct $step {
            $($(#[doc = $required_doc])* pub $required: $required_ty,)*
            $($(#[doc = $optional_doc])* pub $optional: $optional_ty,)*
        }

        impl $step {
            /// The step with every optional field at its default.
            pub fn new($($required: impl Into<$required_ty>),*) -> Self {
                $step {
                    $($required: $required.into(),)*
                    $($optional: $default,)*
                }
            }
        }

        impl $crate::lang::StepSpec for $step {
            const NAME: &'static str = $name;
            const DOC: &'static str = concat!($($doc, "\n"),*);
            const WITHIN: Option<std::time::Duration> = {
                let within: &[std::time::Duration] = &[$($within)?];
                match within {
                    [] => None,
                    [within, ..] => Some(*within),
                }
            };
            type Output = $output;

            fn fields() -> Vec<$crate::lang::FieldSpec> {
                vec![
                    $($crate::lang::FieldSpec {
                        name: stringify!($required).trim_start_matches("r#"),
                        doc: concat!($($required_doc, "\n"),*),
                        ty: <$required_ty as $crate::lang::Field>::field_type(),
                        required: true,
                        default: None,
                    },)*
                    $($crate::lang::FieldSpec {
                        name: stringify!($optional).trim_start_matches("r#"),
                        doc: concat!($($optional_doc, "\n"),*),
                        ty: <$optional_ty as $crate::lang::Field>::field_type(),
                        required: false,
                        default: {
                            let default: $optional_ty = $default;
                            $crate::lang::Field::shown(&default)
                        },
                    },)*
                ]
            }

            fn read(cx: &mut $crate::lang::StepCx<'_>) -> Option<Self> {
                // Every field is read before the first missing one ends it, so that all problems are found.
                $(let $required = cx.required::<$required_ty>(stringify!($required));)*
                $(let $optional = cx.optional::<$optional_ty>(stringify!($optional), || $default);)*
                $(if !$keys(cx) {
                    return None;
                })?
                let step = $step { $($required: $required?,)* $($optional: $optional?,)* };
                $(if !$check(&step, cx) {
                    return None;
                })?
                Some(step)
            }

            $(fn output(
                table: &$crate::lang::Table<'_>,
                servers: &[swaprig_harness::server::ServerSpec],
            ) -> Option<&'static $crate::lang::EntityType> {
                $output_of(table, servers)
            })?

            fn references(&self) -> Vec<$crate::lang::Reference> {
                let mut out = Vec::new();
                $($crate::lang::Field::references(&self.$required, &mut out);)*
                $($crate::lang::Field::references(&self.$optional, &mut out);)*
                out
            }
        }
    };
}

/// Declares what a step binds: a struct whose fields `$name.field` can read.
///
/// `known` fields are there when the step ends; `late` ones are `Option`s that are looked up while they are
/// `None`; `live` ones are always looked up and are not part of the struct; `private` ones are for Rust only. After
/// `is`, the field and the type that it may also stand for.
#[macro_export]
macro_rules! entity {
    (
        $(#[doc = $doc:literal])*
        pub struct $entity:ident($name:literal) $(is $parent:ident: $parent_ty:ty)? {
            known { $($(#[doc = $known_doc:literal])* $known:ident: $known_ty:ty,)* }
            late { $($(#[doc = $late_doc:literal])* $late:ident: $late_ty:ty,)* }
            live { $($(#[doc = $live_doc:literal])* $live:ident: $live_ty:ty,)* }
            private { $($(#[doc = $private_doc:literal])* $private:ident: $private_ty:ty,)* }
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $entity {
            $(#[doc = concat!("What it is when it stands for its parent, [`", stringify!($parent_ty), "`].")]
            pub $parent: $parent_ty,)?
            $($(#[doc = $known_doc])* pub $known: $known_ty,)*
            $($(#[doc = $late_doc])* pub $late: Option<$late_ty>,)*
            $($(#[doc = $private_doc])* pub $private: $private_ty,)*
        }

        impl $entity {
            /// What the language knows of it.
            pub const ENTITY_TYPE: &'static $crate::lang::EntityType = &$crate::lang::EntityType {
                name: $name,
                doc: concat!($($doc, "\n"),*),
                parent: {
                    let parent: &[&'static $crate::lang::EntityType] =
                        &[$(<$parent_ty>::ENTITY_TYPE)?];
                    match parent {
                        [] => None,
                        [parent, ..] => Some(parent),
                    }
                },
                fields: &[
                    $($crate::lang::EntityField {
                        name: $crate::lang::plain_name(stringify!($known)),
                        doc: concat!($($known_doc, "\n"),*),
                        ty: <$known_ty as $crate::lang::Readable>::TYPE,
                        live: false,
                    },)*
                    $($crate::lang::EntityField {
                        name: $crate::lang::plain_name(stringify!($late)),
                        doc: concat!($($late_doc, "\n"),*),
                        ty: <$late_ty as $crate::lang::Readable>::TYPE,
                        live: true,
                    },)*
                    $($crate::lang::EntityField {
                        name: $crate::lang::plain_name(stringify!($live)),
                        doc: concat!($($live_doc, "\n"),*),
                        ty: <$live_ty as $crate::lang::Readable>::TYPE,
                        live: true,
                    },)*
                ],
            };
        }

        impl $crate::lang::Entity for $entity {
            fn entity_type(&self) -> &'static $crate::lang::EntityType {
                $entity::ENTITY_TYPE
            }

            fn field(&self, name: &str) -> Option<$crate::lang::Value> {
                $(if let Some(value) = $crate::lang::Entity::field(&self.$parent, name) {
                    return Some(value);
                })?
                $(if name == $crate::lang::plain_name(stringify!($known)) {
                    return $crate::lang::Readable::read(&self.$known);
                })*
                $(if name == $crate::lang::plain_name(stringify!($late)) {
                    return $crate::lang::Readable::read(&self.$late);
                })*
                let _ = name;
                None
            }

            fn look<'a>(
                &'a self,
                field: &'a str,
                world: &'a $crate::World,
            ) -> $crate::run::BoxFuture<'a, Result<Option<$crate::lang::Value>, $crate::run::StepFailure>> {
                $crate::run::Look::look(self, field, world)
            }

            fn as_any(&self) -> &dyn std::any::Any {
                self
            }

            fn parent(&self) -> Option<&dyn std::any::Any> {
                $(return Some(&self.$parent);)?
                #[allow(unreachable_code)]
                None
            }
        }

        impl $crate::lang::Bind for $entity {
            const ENTITY: Option<&'static $crate::lang::EntityType> = Some($entity::ENTITY_TYPE);

            fn bind(self) -> Option<$crate::lang::Value> {
                Some($crate::lang::Value::Entity(std::sync::Arc::new(self)))
            }
        }

        impl $crate::lang::Bound for $entity {
            const TYPE: $crate::lang::Type = $crate::lang::Type::Entity($entity::ENTITY_TYPE);

            fn from_value(value: &$crate::lang::Value) -> Option<Self> {
                $crate::lang::downcast(value)
            }
        }

        /// Files have no other form for it than a reference.
        impl $crate::lang::Field for $entity {
            fn field_type() -> $crate::lang::FieldType {
                $crate::lang::FieldType::reference_to($entity::ENTITY_TYPE)
            }

            fn read(
                node: &$crate::lang::Node<'_>,
                cx: &mut $crate::lang::StepCx<'_>,
            ) -> Option<Self> {
                cx.wants_reference(node, <$entity as $crate::lang::Bound>::TYPE);
                None
            }
        }
    };
}

/// Declares a fixed list of words, such as the states of a channel, as an enum.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        pub enum $words:ident($name:literal) {
            $($(#[doc = $word_doc:literal])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $words {
            $($(#[doc = $word_doc])* $variant,)*
        }

        impl $words {
            /// The words as the language knows them.
            pub const WORDS: &'static $crate::lang::WordType = &$crate::lang::WordType {
                name: $name,
                words: &[$(($word, concat!($($word_doc, "\n"),*)),)*],
            };

            /// The word, as files write it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($words::$variant => $word,)*
                }
            }

            /// The value of that word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some($words::$variant),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $words {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::lang::Field for $words {
            fn field_type() -> $crate::lang::FieldType {
                $crate::lang::FieldType::word($words::WORDS)
            }

            fn read(
                node: &$crate::lang::Node<'_>,
                cx: &mut $crate::lang::StepCx<'_>,
            ) -> Option<Self> {
                cx.word(node, $words::WORDS).and_then($words::from_word)
            }

            fn shown(&self) -> Option<String> {
                Some(format!("\"{self}\""))
            }
        }

        impl $crate::lang::Readable for $words {
            const TYPE: $crate::lang::Type = $crate::lang::Type::Word($words::WORDS);

            fn read(&self) -> Option<$crate::lang::Value> {
                Some($crate::lang::Value::Word($words::WORDS, self.as_str()))
            }
        }
    };
}
