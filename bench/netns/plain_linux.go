package netns

import "errors"

// PlainLink makes an interface of the thread's namespace send frames as they are on a
// wire: with checksums, and segmented. It returns when the kernel sends over it.
func PlainLink(name string) error { return errors.Join(plainFrames(name), awaitLink(name)) }
