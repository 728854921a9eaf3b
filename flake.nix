{
  description = "swaprig: real Bitcoin and Lightning on regtest, driven from scenario files";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    # Upstream's ldk-server has no flake of its own. Pin it with `nix flake lock` where this is used for releases.
    ldk-server-nix.url = "github:sbddesign/ldk-server-nix";
  };

  outputs = { self, nixpkgs, ldk-server-nix }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      forAll = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system} system);
    in
    {
      packages = forAll (pkgs: system: rec {
        swaprig = pkgs.rustPlatform.buildRustPackage {
          pname = "swaprig";
          version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          # The tests boot daemons, which a build sandbox does not allow; `nix develop -c cargo test` runs them.
          doCheck = false;
          meta.mainProgram = "swaprig";
        };
        default = swaprig;
      });

      devShells = forAll (pkgs: system: {
        default = pkgs.mkShell {
          packages = [
            pkgs.cargo
            pkgs.rustc
            pkgs.rustfmt
            pkgs.clippy
            pkgs.just
            pkgs.bitcoind
            pkgs.elementsd
            pkgs.electrs
            ldk-server-nix.packages.${system}.ldk-server
          ];
          # Both electrs are called `electrs`; the one for Liquid is named by its variable instead of by PATH.
          ELECTRS_LIQUID_EXE = nixpkgs.lib.getExe' (pkgs.blockstream-electrs.overrideAttrs {
            cargoBuildFeatures = [ "liquid" ];
          }) "electrs";
        };
      });
    };
}
