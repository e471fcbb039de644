//go:build !unix

package durable

// syncDirectory does nothing: there is no such thing as a directory's handle
// to flush. NTFS journals the rename.
func syncDirectory(string) error { return nil }
