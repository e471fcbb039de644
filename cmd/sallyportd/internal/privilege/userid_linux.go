package privilege

import (
	"os"
	"slices"
)

// UserID returns the number of a user of this host, by name or number. The configuration
// has it in a key, which errors name.
func UserID(key, name string) (uint32, error) {
	who, err := findUser(key, name)
	return uint32(who.uid), err
}

// ServerUsers returns the numbers of the users that the server may run as, by the
// configuration's user: root, that user and the one of this process.
func ServerUsers(name string) ([]uint32, error) {
	users := []uint32{0, uint32(os.Geteuid())}
	if name != "" {
		uid, err := UserID("user", name)
		if err != nil {
			return nil, err
		}
		users = append(users, uid)
	}
	slices.Sort(users)
	return slices.Compact(users), nil
}
