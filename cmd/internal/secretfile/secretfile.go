// Package secretfile makes and reads files that contain secrets. It refuses files
// that other users can read.
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

// ExposedError reports that other users can read a file with secrets.
type ExposedError struct {
	Path string
	Mode fs.FileMode
}

func (e *ExposedError) Error() string {
	return fmt.Sprintf("%s: others may read the secrets in it (mode %04o)", e.Path, e.Mode.Perm())
}

// Hint returns what to do.
func (e *ExposedError) Hint() string {
	return fmt.Sprintf("chmod 600 '%s', and replace the secrets if other users have used this computer", e.Path)
}

// Check returns an ExposedError if the group or other users have any right to the
// file. Windows has no such bits.
func Check(path string, info fs.FileInfo) error {
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return &ExposedError{Path: path, Mode: info.Mode()}
	}
	return nil
}

// Open opens a regular file, as durable.Open does: root reads only files that the
// owner of the directory may read. It returns an error if Check does.
func Open(path string) (*os.File, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		kind := "a special file"
		if info.IsDir() {
			kind = "a directory"
		}
		err = fmt.Errorf("%s: expected a regular file, got %s", path, kind)
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

// Create makes a new file with these contents, which only its owner can read. If
// the path exists already, even as a link, the error wraps fs.ErrExist. After any
// other error there is no file.
func Create(path string, data []byte) error {
	return durable.CreateFile(path, data, 0o600)
}

// maxSecret is the largest file with a single secret, in bytes.
const maxSecret = 4096

// ReadOne reads a file that contains one secret: UTF-8 text on a single line. It
// ignores line ends after the secret.
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
		return "", fmt.Errorf("%s: expected one secret of at most %d bytes, got more", path, maxSecret)
	case s == "":
		return "", fmt.Errorf("%s: expected a secret, but the file is empty", path)
	case strings.ContainsAny(s, "\r\n"):
		return "", fmt.Errorf("%s: expected one secret on a single line, got several lines", path)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%s: expected UTF-8 text, got other bytes", path)
	}
	return s, nil
}
