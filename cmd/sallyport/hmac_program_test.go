package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

// hmacProgram is a mac_command, for tests: its argument is the secret. It appends a line
// to the file of a second argument when it starts.
func hmacProgram() {
	if len(os.Args) > 2 {
		f, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprintln(f, "started")
			f.Close()
		}
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		message, err := hex.DecodeString(in.Text())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		mac := hmac.New(sha256.New, []byte(os.Args[1]))
		mac.Write(message)
		fmt.Printf("%x\n", mac.Sum(nil))
	}
}
