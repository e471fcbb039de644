// Package secretfile makes files that hold secrets, and reads them; it refuses
// those that others may read.
package secretfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"unicode/utf8"

	"sallyport/sessions/durable"
)

// ExposedError says that others may read a file with secrets.
type ExposedError struct {
	Path string
	Mode fs.FileMode
}

func (e *ExposedError) Error() string {
	return fmt.Sprintf("%s: others may read the secrets in it (mode %04o)", e.Path, e.Mode.Perm())
}

// Hint says what to do.
func (e *ExposedError) Hint() string {
	return fmt.Sprintf("chmod 600 '%s', and replace the secrets if others have used this computer", e.Path)
}

// Check returns an ExposedError if the group or others may do anything with
// the file. Windows keeps no such bits.
func Check(path string, info fs.FileInfo) error {
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return &ExposedError{Path: path, Mode: info.Mode()}
	}
	return nil
}

// Open opens a regular file that Check passes, as durable.Open does: root reads
// no more than the owner of the directory may.
func Open(path string) (*os.File, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: expected a file, this is something else", path)
	}
	if err == nil {
		err = Check(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Create makes a new file that only its owner may read, with these contents. A
// path at which anything is already, even a link, is an error that wraps
// fs.ErrExist. After any other error there is no file.
func Create(path string, data []byte) error {
	return durable.CreateFile(path, data, 0o600)
}

// maxSecret bounds the file of a single secret.
const maxSecret = 4096

// ReadOne reads a file that holds one secret: UTF-8 text on a single line.
// Line ends after it do not count.
func ReadOne(path string) (string, error) {
	f, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > maxSecret:
		return "", fmt.Errorf("%s: expected one secret of up to %d bytes", path, maxSecret)
	case s == "":
		return "", fmt.Errorf("%s: expected a secret, the file is empty", path)
	case strings.ContainsAny(s, "\r\n"):
		return "", fmt.Errorf("%s: expected one secret on a single line", path)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%s: expected UTF-8 text", path)
	}
	return s, nil
}
