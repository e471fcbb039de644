package privilege

// UserID returns the number of a user of this host, by name or number. The configuration
// has it in a key, which errors name.
func UserID(key, name string) (uint32, error) {
	who, err := findUser(key, name)
	return uint32(who.uid), err
}
