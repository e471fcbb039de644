// Package secretfile makes and reads files that contain secrets. It refuses files
// that other users can read or change.
//
//	Rules.Open     a file with secrets
//	Rules.ReadOne  a file with one secret
//	Rules.Check    an open file
//	Create         a new file, for its owner only
//	Protect        the file to which standard output leads
//	Fault          characters that a secret must not have
package secretfile

import (
	"io"
	"os"

	"sallyport/sessions/durable"
)

// Rules is who may read a file with secrets, in addition to root, the owner of the
// file, and the user of this process.
type Rules struct {
	// User is a user, by name or number, to whom this process or another one of
	// the program switches; empty: none.
	User string
	// Shared permits all users to read the file, but not to change it.
	Shared bool
}

// Open opens a regular file, as durable.Open does: root reads only files that the
// owner of the directory may read. It returns an error if Check does.
func (r Rules) Open(path string) (*os.File, error) {
	f, err := OpenAny(path)
	if err != nil {
		return nil, err
	}
	if err := r.Check(path, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenAny is Open without Check.
func OpenAny(path string) (*os.File, error) { return durable.OpenRegular(path) }

// Create makes a new file with these contents, which only its owner can read. If
// the path exists already, even as a link, the error wraps fs.ErrExist. After any
// other error there is no file.
func Create(path string, data []byte) error {
	return durable.CreateFile(path, data, 0o600)
}

// ReadOne reads a file that contains one secret: UTF-8 text on a single line. It
// ignores a byte order mark before the secret, and line ends after it.
func (r Rules) ReadOne(path string) (string, error) {
	f, err := r.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxSecret+1))
	if err != nil {
		return "", err
	}
	return Parse(path, b)
}
