//! Compiles the .proto files to Rust without a `protoc` binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let compiled = protox::Compiler::new(["proto"])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(["ln_liquid_swap/v1/swap.proto"])?
        .encode_file_descriptor_set();
    #[expect(
        clippy::disallowed_methods,
        reason = "how cargo tells a build script where to write"
    )]
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    // Encoded by protox, which keeps the extensions: prost's own types would drop the constraints.
    std::fs::write(out.join("descriptors.bin"), &compiled)?;
    let set = prost::Message::decode(compiled.as_slice())?;
    // With names, by which a message finds its constraints.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure().compile_fds_with_config(set, config)?;
    Ok(())
}
