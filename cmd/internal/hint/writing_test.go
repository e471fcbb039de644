package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"sallyport/sessions/syserror"
)

func TestWriting(t *testing.T) {
	for err, want := range map[error]string{
		&fs.PathError{Op: "write", Path: "x", Err: syserror.DiskFull.Err()}: "full",
		fmt.Errorf("make: %w", syserror.ReadOnly.Err()):                     "read-only",
		fs.ErrPermission: "owner",
		With(syserror.DiskFull.Err(), "another hint"): "another hint",
		errors.New("input/output error"):              "",
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
