//go:build !windows

package sshkey

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
)

// dialAgent connects to the agent of the environment.
func dialAgent(ctx context.Context) (io.ReadWriteCloser, error) {
	path := os.Getenv("SSH_AUTH_SOCK")
	if path == "" {
		return nil, errors.New("SSH_AUTH_SOCK is not set")
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}
