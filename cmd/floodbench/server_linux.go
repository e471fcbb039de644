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

const serverName = "sallyportd"

// findServer returns the path of the server to test. The caller must call done
// when it no longer needs the server.
func findServer(ctx context.Context, given string, stderr io.Writer) (path string, done func(), err error) {
	done = func() {}
	if given != "" {
		if path, err = exec.LookPath(given); err != nil {
			return "", done, cli.Misuse(fmt.Errorf("--server: %w", err))
		}
		path, err = filepath.Abs(path)
		return path, done, err
	}
	if self, err := os.Executable(); err == nil {
		if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), serverName)); err == nil {
			return beside, done, nil
		}
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m").Output()
	if err == nil && strings.TrimSpace(string(module)) == "sallyport" {
		return build(ctx, stderr)
	}
	if path, err = exec.LookPath(serverName); err == nil {
		path, err = filepath.Abs(path)
		return path, done, err
	}
	return "", done, cli.WithHint(
		cli.Misuse(errors.New("found no "+serverName+" to test")), "give its path with --server")
}

// build builds the server from its source, in the same way as the shipped one.
func build(ctx context.Context, stderr io.Writer) (path string, done func(), err error) {
	dir, err := os.MkdirTemp("", "floodbench-server")
	if err != nil {
		return "", func() {}, fmt.Errorf("build the server: %w", err)
	}
	done = func() { os.RemoveAll(dir) }
	path = filepath.Join(dir, serverName)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "sallyport/cmd/"+serverName)
	cmd.Stderr = stderr
	if err := cmd.Run(); err != nil {
		done()
		return "", func() {}, fmt.Errorf("build the server: %w", err)
	}
	return path, done, nil
}
