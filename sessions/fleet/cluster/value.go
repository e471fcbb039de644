package cluster

import "fmt"

// VersionError is the error of a value in etcd that a gateway of a later release has written.
type VersionError struct {
	Found  int
	Latest int // the latest version of this kind of value that this release reads
	Remedy string
}

// CheckVersion returns a VersionError if a version is later than latest.
func CheckVersion(found, latest int) error {
	if found <= latest {
		return nil
	}
	return &VersionError{found, latest, "run the same release at all gateways: update this one, or go back with all of them"}
}

func (e *VersionError) Error() string {
	reads := "version 1"
	if e.Latest > 1 {
		reads = fmt.Sprintf("versions 1 to %d", e.Latest)
	}
	return fmt.Sprintf("the value in etcd has version %d, this release reads %s; %s", e.Found, reads, e.Remedy)
}
