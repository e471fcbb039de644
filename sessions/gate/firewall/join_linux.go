package firewall

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// createFirst makes the table, and finds out what the kernel can do and how it
// describes the table's content. The table jumps to the operator's chains. If the
// kernel refuses that, the services that jump are closed, and the chains stay. If
// that fails too, since rules there use a part of the table that must go, these
// rules go.
func (t *Table) createFirst(elements targets) error {
	if !t.hasJump() {
		return t.createAndLearn(elements, false)
	}
	if !t.jump.learned {
		// A rule of the operator must not look like an inability of the kernel.
		t.jump.refused = &JumpError{errors.New("not yet tried")}
		if err := t.createAndLearn(elements, true); err != nil {
			if t.jump.refused = nil; !concernsTable(err) {
				return err
			}
			return t.createAndLearn(elements, false)
		}
	}
	t.jump.refused = nil
	err := t.createAndLearn(elements, true)
	if err == nil || !concernsTable(err) {
		return err
	}
	t.jump.refused = &JumpError{errnoOf(err)}
	if failed := t.createAndLearn(elements, true); failed == nil || !concernsTable(failed) {
		return failed
	}
	t.jump.refused = nil
	if failed := t.createAndLearn(elements, false); failed != nil {
		return fmt.Errorf("%w (and without the operator's chains: %w)", err, failed)
	}
	return nil
}

// errnoOf returns the first error number of a transaction that failed because of a rule
// of the operator. The kernel reports an error for each rule with which it would then
// check the chain, and explain is about a kernel that lacks what the table needs.
func errnoOf(err error) error {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// concernsTable reports whether an error may be due to the operator's rules, which
// otherwise must not go.
func concernsTable(err error) bool {
	return !errors.Is(err, unix.EPERM) && !errors.Is(err, errChanging) && !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS)
}

// ownershipOf returns the ownership of a table whose content has a digest.
func (t *Table) ownershipOf(digest string) ownership {
	m := ownership{owner: t.owner, made: t.made, content: digest, jumps: strings.Join(t.cfg.jumps(), jumpSeparator)}
	if t.jump.refused != nil {
		m.refused = t.jump.refused.Err.Error()
	}
	return m
}

// lookAtJumps is called with the content of an intact table. If the operator has
// changed chains to which the kernel refused the jumps, it tries these again.
func (t *Table) lookAtJumps(c content) error {
	t.jump.filled = c.filled()
	if t.jump.refused == nil {
		return nil
	}
	if c.operatorSum() == t.jump.at {
		return nil
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	return t.remake(k)
}
