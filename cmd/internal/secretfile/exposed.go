package secretfile

import "fmt"

// ExposedError reports that other users can read or change a file with secrets.
type ExposedError struct {
	Path string
	text string
	hint string
}

func (e *ExposedError) Error() string { return e.Path + ": " + e.text }

// Hint returns what to do.
func (e *ExposedError) Hint() string { return e.hint }

// exposure is how a file is exposed.
type exposure struct {
	path   string
	mode   uint32
	others string // the first of the others, such as "group staff"; empty: all users
	change bool   // they can change it, too

	readOnly bool   // the file is on a read-only mount
	mayChmod bool   // this process may change the mode
	owned    bool   // the user that must read the file is its owner, or root
	reader   string // that user
	entry    string // the entry of an access control list, such as "u:alice"; empty: none
}

func (e exposure) err() error {
	what := "others may read the secrets in it"
	if e.change {
		what = "others may change the secrets in it"
	}
	if e.others != "" {
		what += fmt.Sprintf(" (%s, mode %04o)", e.others, e.mode)
	} else {
		what += fmt.Sprintf(" (mode %04o)", e.mode)
	}
	return &ExposedError{e.path, what, e.remedy()}
}

// remedy returns a hint that can work: no user can change a mode on a read-only
// mount, and only root can change the mode of another user's file.
func (e exposure) remedy() string {
	const replace = ", and replace the secrets if other users have used this computer"
	private := fmt.Sprintf("chmod 600 '%s'", e.path)
	if !e.owned {
		private = fmt.Sprintf("chown %s '%s' && %s", e.reader, e.path, private)
	}
	switch {
	case e.readOnly:
		hint := "its mount is read-only: change the mode at the source of the mount, or by the options of the mount " +
			"(Docker and Podman: mode=0400 and uid=" + e.reader + "; Kubernetes: defaultMode: 0400, with fsGroup)"
		if !e.change {
			hint += ". If all users of this system may know the secrets: secret_files = \"shared\""
		}
		return hint
	case e.entry != "" && e.mayChmod:
		return fmt.Sprintf("setfacl -x %s '%s'", e.entry, e.path) + replace
	case e.entry != "":
		return fmt.Sprintf("as root: setfacl -x %s '%s'", e.entry, e.path) + replace
	case e.mayChmod && e.owned:
		return private + replace
	}
	return "as root: " + private + replace
}
