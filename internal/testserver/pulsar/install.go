package pulsar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/continuo-dev/continuo/internal/testserver"
)

// The broker: the newest 4.0.x whose jars are in Maven Central. One module of it is not; a rebuild of that one by StreamNative,
// with the same package names, is.
const (
	version   = "4.0.8"
	rebuild   = "4.0.6.9"
	cacheName = "pulsar-" + version
	library   = "lib"
	archive   = "classes.jsa"
)

// settings send all repositories but Maven Central nowhere: some projects name ones that are gone and cost a minute of time-outs.
const settings = `<settings><mirrors><mirror><id>nowhere</id><mirrorOf>*,!central</mirrorOf><url>file:///nonexistent</url></mirror></mirrors></settings>
`

const project = `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>pulsar-server</artifactId><version>1</version><packaging>pom</packaging>
<dependencyManagement><dependencies>
<dependency><groupId>org.apache.pulsar</groupId><artifactId>pulsar</artifactId><version>VERSION</version><type>pom</type><scope>import</scope></dependency>
</dependencies></dependencyManagement>
<dependencies>
<dependency><groupId>org.apache.pulsar</groupId><artifactId>pulsar-broker</artifactId><version>VERSION</version>
 <exclusions>
  <exclusion><groupId>org.apache.pulsar</groupId><artifactId>pulsar-opentelemetry</artifactId></exclusion>
  <exclusion><groupId>org.apache.pulsar</groupId><artifactId>jetcd-core-shaded</artifactId></exclusion>
  <exclusion><groupId>org.apache.pulsar</groupId><artifactId>pulsar-docs-tools</artifactId></exclusion>
 </exclusions></dependency>
<dependency><groupId>io.streamnative</groupId><artifactId>pulsar-opentelemetry</artifactId><version>REBUILD</version></dependency>
<dependency><groupId>org.apache.pulsar</groupId><artifactId>bouncy-castle-bc</artifactId><version>VERSION</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j2-impl</artifactId></dependency>
<dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId></dependency>
<dependency><groupId>com.fasterxml.jackson.dataformat</groupId><artifactId>jackson-dataformat-yaml</artifactId></dependency>
<dependency><groupId>org.apache.bookkeeper.stats</groupId><artifactId>prometheus-metrics-provider</artifactId></dependency>
</dependencies>
</project>
`

// Install downloads the broker's jars with Maven (232 MB), unless they are there, and returns the directory they are in. It then
// runs the broker once, to write down the classes that it loads (85 MB): every later start takes a third of the time.
func Install(ctx context.Context) (dir string, err error) {
	dir, err = testserver.Dir(cacheName)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, library)); err != nil {
		if err := download(ctx, dir); err != nil {
			return "", err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, archive)); err == nil {
		return dir, nil
	}
	return dir, archiveClasses(ctx, dir)
}

// download gives the jars their place when all have come.
func download(ctx context.Context, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, "install-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	pom := strings.NewReplacer("VERSION", version, "REBUILD", rebuild).Replace(project)
	for name, text := range map[string]string{"pom.xml": pom, "settings.xml": settings} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	maven := exec.CommandContext(ctx, "mvn", "-B", "-q", "-ntp", "-s", "settings.xml", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+library)
	maven.Dir = work
	if output, err := maven.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn dependency:copy-dependencies of Pulsar %s (Debian: apt-get install maven openjdk-17-jre-headless): %w\n%s", version, err, output)
	}
	return os.Rename(filepath.Join(work, library), filepath.Join(dir, library))
}

// archiveClasses runs a broker that writes its archive of classes when it ends. Another version of Java passes over it.
func archiveClasses(ctx context.Context, dir string) (err error) {
	work, err := os.MkdirTemp(dir, "archive-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	fresh := filepath.Join(work, archive)
	s, err := start(ctx, Options{Dir: work, jvm: []string{"-XX:ArchiveClassesAtExit=" + fresh}})
	if err != nil {
		return err
	}
	if err := s.Stop(); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(dir, archive))
}
