package preamble_test

import (
	"encoding/hex"
	"fmt"

	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

// A client sends its preamble, reads the server's answer, and sends its proof. From then
// on the connection is the service's.
func ExampleClient() {
	id := wire.Identifier([]byte("com1"))
	c, err := preamble.NewClient("ssh", id, 1_700_000_000, 7, preamble.SecretMAC([]byte("com1_secret")))
	if err != nil {
		panic(err)
	}
	first := c.Preamble()
	fmt.Printf("%x\n", first[:preamble.SignedSize])
	answer, err := hex.DecodeString("000102030405060708090a0b0c0d0e0f" +
		"a4ac83d68e4768435ad63ed7075bdeecfd197b7108c7d7f98baa888fcff67549")
	if err != nil {
		panic(err)
	}
	proof, err := c.Answer(answer)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%x\n", proof)
	// Output:
	// 504bffff636f6d316553f10000000007
	// 3d78ce60f20082aeb6b736cf0a5f2f3347a513fcd0b8eeb0733bd9f1178b8843
}
