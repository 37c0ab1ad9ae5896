package memory_test

import (
	"testing"

	"github.com/continuo-dev/continuo/internal/adapter/memory"
	"github.com/continuo-dev/continuo/internal/readmodel"
	"github.com/continuo-dev/continuo/internal/readmodel/readmodeltest"
)

func TestReadModelConforms(t *testing.T) {
	t.Parallel()
	readmodeltest.Run(t, func(testing.TB) readmodel.Model { return memory.NewReadModel() })
}
