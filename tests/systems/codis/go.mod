module codis

go 1.19

require github.com/samuel/go-zookeeper v0.0.0-20190923202752-2cc03de413da
