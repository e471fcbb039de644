//go:build !linux && !darwin

package main

import (
	"context"
	"errors"
	"io"
	"net"

	"sallyport/cmd/internal/cli"
)

// passer passes an open connection to another program. On this system it does not exist.
type passer struct{}

func newPasser(io.Writer) (*passer, error) {
	return nil, cli.WithHint(errors.New("--fdpass: this system does not pass connections to other programs"),
		"omit --fdpass, and \"ProxyUseFdpass yes\" in the configuration of ssh")
}

func (*passer) pass(context.Context, *net.TCPConn) error { return errors.ErrUnsupported }
