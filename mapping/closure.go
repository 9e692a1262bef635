package mapping

// Closure returns a role and all it inherits, sorted; nothing for a role nobody declared.
func (m *Mapper) Closure(role string) []string {
	if !m.Declared(role) {
		return nil
	}
	return m.roles.close([]string{role})
}
