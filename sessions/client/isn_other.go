//go:build !linux

package client

import (
	"errors"

	"sallyport/verify/wire"
)

// On other systems, no program can choose the sequence number of a connection.

func setISN(int, wire.ISN) error { return errors.ErrUnsupported }

func tryISN() error { return errors.ErrUnsupported }
