package eventdoc

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// source is what the doc comments of a package say.
type source struct {
	types  map[string]string // by type name
	fields map[string]string // by "Type.Field"
	consts []constant
}

// constant is one of a package's texts.
type constant struct {
	name, typ, value, doc string
}

// read parses the package in dir, tests left out.
func read(dir string) (*source, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	p, err := doc.NewFromFiles(set, parsed, "events", doc.PreserveAST)
	if err != nil {
		return nil, err
	}
	s := &source{types: map[string]string{}, fields: map[string]string{}}
	for _, t := range p.Types {
		s.types[t.Name] = t.Doc
		s.addFields(t)
		s.addConstants(t.Consts)
	}
	s.addConstants(p.Consts)
	return s, nil
}

func (s *source) addFields(t *doc.Type) {
	for _, spec := range t.Decl.Specs {
		structure, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType)
		if !ok {
			continue
		}
		last := "" // the last comment above a field, which may speak of the fields below too
		for _, f := range structure.Fields.List {
			text := f.Doc.Text() + f.Comment.Text()
			if f.Doc != nil {
				last = f.Doc.Text()
			} else if text == "" {
				text = sharedBy(last, f)
			}
			for _, name := range f.Names {
				s.fields[t.Name+"."+name.Name] = text
			}
		}
	}
}

// sharedBy returns the comment of an earlier field if it speaks of this one too.
func sharedBy(comment string, f *ast.Field) string {
	for _, name := range f.Names {
		for word := range strings.FieldsSeq(comment) {
			if strings.Trim(word, ".,;:()") == name.Name {
				return comment
			}
		}
	}
	return ""
}

func (s *source) addConstants(groups []*doc.Value) {
	for _, group := range groups {
		for _, spec := range group.Decl.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || len(v.Values) != 1 {
				continue
			}
			literal, ok := v.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				continue
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				continue
			}
			c := constant{name: v.Names[0].Name, value: value, doc: v.Doc.Text() + v.Comment.Text()}
			if t, ok := v.Type.(*ast.Ident); ok {
				c.typ = t.Name
			}
			s.consts = append(s.consts, c)
		}
	}
}

// constantsNamed returns the constants without a type whose names begin with prefix.
func (s *source) constantsNamed(prefix string) []constant {
	var all []constant
	for _, c := range s.consts {
		if c.typ == "" && strings.HasPrefix(c.name, prefix) {
			all = append(all, c)
		}
	}
	return all
}
