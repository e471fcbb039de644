package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sallyport/cmd/internal/cli"
)

const (
	serverName = "sallyportd"
	clientName = "sallyport"
)

// findServer returns the path of the server to test. The caller must call done
// when it no longer needs the server.
func findServer(ctx context.Context, given string, stderr io.Writer) (path string, done func(), err error) {
	return findProgram(ctx, serverName, "--server", given, stderr)
}

// findProgram returns the path of a program of this module: the given one, or else
// one beside this program, built from its source, or in PATH. The caller must call
// done when it no longer needs the program.
func findProgram(ctx context.Context, name, flag, given string, stderr io.Writer) (path string, done func(), err error) {
	done = func() {}
	if given != "" {
		if path, err = exec.LookPath(given); err != nil {
			return "", done, cli.Misuse(fmt.Errorf("%s: %w", flag, err))
		}
		path, err = filepath.Abs(path)
		return path, done, err
	}
	if self, err := os.Executable(); err == nil {
		if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return beside, done, nil
		}
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m").Output()
	if err == nil && strings.TrimSpace(string(module)) == "sallyport" {
		return build(ctx, name, stderr)
	}
	if path, err = exec.LookPath(name); err == nil {
		path, err = filepath.Abs(path)
		return path, done, err
	}
	return "", done, cli.WithHint(
		cli.Misuse(errors.New("found no "+name+" to test")), "give its path with "+flag)
}

// build builds a program from its source, in the same way as the shipped one.
func build(ctx context.Context, name string, stderr io.Writer) (path string, done func(), err error) {
	dir, err := os.MkdirTemp("", "floodbench-program")
	if err != nil {
		return "", func() {}, fmt.Errorf("build %s: %w", name, err)
	}
	done = func() { os.RemoveAll(dir) }
	path = filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "sallyport/cmd/"+name)
	cmd.Stderr = stderr
	if err := cmd.Run(); err != nil {
		done()
		return "", func() {}, fmt.Errorf("build %s: %w", name, err)
	}
	return path, done, nil
}
