package main

import (
	"bytes"
	"debug/macho"
	"encoding/binary"
	"testing"
)

// TestMacSignature: a Mac with Apple's processor starts no program without a signature. The
// linker makes one, also on other systems.
func TestMacSignature(t *testing.T) {
	const signature = 0x1d // LC_CODE_SIGNATURE
	program, err := macho.NewFile(bytes.NewReader(made.shipped(t, "sallyport", "darwin_arm64")))
	if err != nil {
		if made.stage != "" {
			return // a stand-in is no program for a Mac
		}
		t.Fatal(err)
	}
	for _, load := range program.Loads {
		if binary.LittleEndian.Uint32(load.Raw()) == signature {
			return
		}
	}
	t.Error("the program has no signature")
}
