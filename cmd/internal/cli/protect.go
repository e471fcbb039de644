package cli

import (
	"os"

	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/terminal"
)

// ProtectStdout prepares standard output for secrets. A new file, as a shell makes
// it for >FILE, becomes readable for its owner only. It warns about a file that
// others can read and that is not new, or belongs to another user.
func (e Env) ProtectStdout() {
	f, ok := terminal.Raw(e.Stdout).(*os.File)
	if !ok {
		return
	}
	if err := secretfile.Protect(f); err != nil {
		e.Err().Warning(err.Error(), err.Hint())
	}
}
