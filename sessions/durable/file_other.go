//go:build !unix

package durable

import "os"

// KeepOwner does nothing: owners are not a matter here.
func KeepOwner(path, of string) {}

func keepOwner(*os.File, os.FileInfo) {}

// syncDirectory does nothing: there is no such thing as a directory's handle
// to flush. NTFS journals the rename.
func syncDirectory(string) error { return nil }
