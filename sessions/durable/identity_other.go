//go:build !linux

package durable

import (
	"errors"
	"os"
)

// IdentityOf returns an error: only Linux has it here.
func IdentityOf(*os.File) (Identity, error) {
	return Identity{}, errors.New("the identity of a file is not available on this system")
}
