package door

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
)

// Bounds of a tokens file.
const (
	// MaxTokens is how many tokens a file may have.
	MaxTokens = 1000
	// MinTokenBytes and MaxTokenBytes are how long a token is.
	MinTokenBytes = 32
	MaxTokenBytes = 1024
	// MaxTokenNameBytes is how long the name of a token may be.
	MaxTokenNameBytes = 100
)

// Tokens are those who are let in. Tokens themselves are not kept, their hashes are.
type Tokens struct {
	all []token
}

type token struct {
	name string
	hash [sha256.Size]byte
}

// ParseTokens reads a tokens file: on every line a name, a colon and a token. Lines that are empty or begin with # say nothing.
// Several tokens may have one name, so that a new one can be handed out while the old one is still good. Errors name the line,
// never what is in it.
func ParseTokens(text []byte) (Tokens, error) {
	var t Tokens
	lines := map[[sha256.Size]byte]int{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, secret, found := bytes.Cut(line, []byte(":"))
		if !found {
			return Tokens{}, fmt.Errorf("line %d is not NAME:TOKEN", number)
		}
		if err := checkName(name); err != nil {
			return Tokens{}, fmt.Errorf("line %d: %w", number, err)
		}
		if err := checkSecret(secret); err != nil {
			return Tokens{}, fmt.Errorf("line %d: %w", number, err)
		}
		hash := sha256.Sum256(secret)
		if before, twice := lines[hash]; twice {
			return Tokens{}, fmt.Errorf("line %d has the token of line %d; a token belongs to one name", number, before)
		}
		lines[hash] = number
		if len(t.all) == MaxTokens {
			return Tokens{}, fmt.Errorf("line %d is one token too many; the limit is %d", number, MaxTokens)
		}
		t.all = append(t.all, token{name: string(name), hash: hash})
	}
	if len(t.all) == 0 {
		return Tokens{}, errors.New("there is no token in it: write NAME:TOKEN on a line, such as the output of 'openssl rand -hex 32' behind a name")
	}
	return t, nil
}

func checkName(name []byte) error {
	if len(name) == 0 || len(name) > MaxTokenNameBytes {
		return fmt.Errorf("the name before the colon has %d bytes; it may have 1 to %d", len(name), MaxTokenNameBytes)
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return errors.New("the name before the colon has a space or a character that is not ASCII")
		}
	}
	return nil
}

func checkSecret(secret []byte) error {
	if len(secret) < MinTokenBytes || len(secret) > MaxTokenBytes {
		return fmt.Errorf("the token has %d bytes; it must have %d to %d: 'openssl rand -hex 32' makes one", len(secret), MinTokenBytes, MaxTokenBytes)
	}
	for _, c := range secret {
		if c <= ' ' || c > '~' {
			return errors.New("the token has a space or a character that is not ASCII")
		}
	}
	return nil
}

// Len returns how many tokens there are.
func (t Tokens) Len() int { return len(t.all) }

// find returns the name that a token's hash has. How long it takes does not depend on the hash.
func (t Tokens) find(hash [sha256.Size]byte) (name string, found bool) {
	at := -1
	for i := range t.all {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(t.all[i].hash[:], hash[:]), i, at)
	}
	if at < 0 {
		return "", false
	}
	return t.all[at].name, true
}

func readTokens(files ...[]byte) (Tokens, error) { return ParseTokens(files[0]) }
