package cli

import "runtime/debug"

// development is the version of a program that was built without one.
const development = "devel"

// given is the version that a build sets by the linker:
//
//	go build -ldflags '-X sallyport/cmd/internal/cli.given=v1.2.3'
//
// The Dockerfile does so, because a build there has no .git.
var given string

// Version is the version that the build was given. Without one it is the version
// that Go has derived from .git, and in a build without .git "devel".
func Version() string {
	if given != "" {
		return given
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return development
	}
	return info.Main.Version
}
