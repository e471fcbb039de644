// Package passphrase locks files with secrets: their content is encrypted for a
// passphrase, in the format of age (https://age-encryption.org/v1), with one scrypt
// recipient and armour. So the program age can open them too.
//
//	Lock.Encrypt, Decrypt   the content
//	Ask, Descriptor         the passphrase: from a terminal, or from a descriptor
//
// A passphrase is never a value of a flag or of the environment: other processes and
// shells' histories can have those.
package passphrase

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// DefaultWorkFactor makes one guess take about a second, and 256 MiB of memory.
const DefaultWorkFactor = 18

// maxWorkFactor is the highest one that Decrypt accepts: 1 GiB, some seconds.
const maxWorkFactor = 20

// ErrWrong is the error of a passphrase that does not open a content.
var ErrWrong = errors.New("wrong passphrase")

// IsLocked reports whether a content is encrypted.
func IsLocked(content []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(content, " \t\r\n"), []byte(armor.Header))
}

// Encrypt returns a content, encrypted. The work factor is the binary logarithm of
// scrypt's cost; 0: DefaultWorkFactor.
func Encrypt(content []byte, passphrase string, workFactor int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	if workFactor != 0 {
		recipient.SetWorkFactor(workFactor)
	}
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, recipient)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = errors.Join(w.Close(), text.Close())
	}
	return out.Bytes(), err
}

// Decrypt is the reverse of Encrypt. The error is ErrWrong, or that of a damaged content.
func Decrypt(locked []byte, passphrase string) ([]byte, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(locked)), identity)
	var wrong *age.NoIdentityMatchError
	if errors.As(err, &wrong) {
		if len(wrong.StanzaTypes) != 1 || wrong.StanzaTypes[0] != "scrypt" {
			return nil, fmt.Errorf("expected a file that is encrypted for a passphrase, got one for %s", strings.Join(wrong.StanzaTypes, ", "))
		}
		return nil, ErrWrong
	}
	var content []byte
	if err == nil {
		content, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, fmt.Errorf("the encrypted file is damaged: %v", err)
	}
	return content, nil
}
