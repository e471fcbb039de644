package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func TestWriting(t *testing.T) {
	for err, want := range map[error]string{
		&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}: "full",
		fmt.Errorf("make: %w", syscall.EROFS):                      "read-only",
		syscall.EACCES:                                             "owner",
		With(syscall.ENOSPC, "another hint"):                       "another hint",
		syscall.EIO:                                                "",
	} {
		got := Writing(err)
		var hinted interface{ Hint() string }
		if errors.As(got, &hinted) != (want != "") || want != "" && !strings.Contains(hinted.Hint(), want) {
			t.Errorf("%v: %v", err, got)
		}
		if !errors.Is(got, err) || got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
	}
	if Writing(nil) != nil {
		t.Error("nil")
	}
}
