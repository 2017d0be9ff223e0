//! What the transforms of Winograd's methods have in common: the tiles, and the way from arithmetic in one direction to that of a tile.
//!
//! Rows and columns are written out by macros: as loops they stay in memory, and a closure that is not inlined loses the instruction set.
//! So is a tile that lies in its map as a whole, as most do: with a question for each pixel there are more questions than sums.

/// One input tile to transform, over all its channels.
pub(in crate::extractor::kernels) struct Input {
    /// The pixel at the tile's first row and column, which may lie outside of the map.
    pub(in crate::extractor::kernels) from: *const f32,
    pub(in crate::extractor::kernels) row_stride: usize,
    pub(in crate::extractor::kernels) pixel_stride: usize,
    pub(in crate::extractor::kernels) channels: usize,
    /// Whether all of the tile lies in the map. Asked of `rows` and `columns` it would be asked by wide loads of what narrow stores have just
    /// written, which wait until all stores before them have reached the cache.
    pub(in crate::extractor::kernels) whole: bool,
    /// The tile's rows `[first, end)` that lie in the map; the others are zero.
    pub(in crate::extractor::kernels) rows: [usize; 2],
    /// The same of its columns.
    pub(in crate::extractor::kernels) columns: [usize; 2],
    /// `[points][channels]`, `point_stride` apart.
    pub(in crate::extractor::kernels) to: *mut f32,
    pub(in crate::extractor::kernels) point_stride: usize,
}

/// One output tile to transform back, over one panel of channels.
pub(in crate::extractor::kernels) struct Output {
    /// `[points][width]`, `point_stride` apart.
    pub(in crate::extractor::kernels) from: *const f32,
    pub(in crate::extractor::kernels) point_stride: usize,
    /// Channels to compute.
    pub(in crate::extractor::kernels) width: usize,
    pub(in crate::extractor::kernels) bias: *const f32,
    pub(in crate::extractor::kernels) relu: bool,
    pub(in crate::extractor::kernels) to: *mut f32,
    pub(in crate::extractor::kernels) row_stride: usize,
    pub(in crate::extractor::kernels) pixel_stride: usize,
    /// Rows and columns of the tile that lie in the map.
    pub(in crate::extractor::kernels) rows: usize,
    pub(in crate::extractor::kernels) columns: usize,
}

/// An array of `$value` for each number in turn, which is called `$at` there.
macro_rules! each {
    (($($number:literal)*), $at:ident => $value:expr) => {
        [$({
            let $at: usize = $number;
            $value
        }),*]
    };
}
pub(super) use each;

/// Calls `$transform` with the address of each register of an input tile's channels, from pixel to pixel and from row to row, and where its
/// points go. Of a tile at the map's edge the pixels are first laid beside each other, with zeros for those that it lacks.
macro_rules! each_register {
    ($vector:ident, $tile:ident, $reach:ident, $transform:ident) => {
        if $tile.whole {
            for channel in (0..$tile.channels).step_by($vector::LANES) {
                let from = $tile.from.wrapping_add(channel);
                $transform::<$vector>(
                    from,
                    $tile.row_stride,
                    $tile.pixel_stride,
                    $tile.to.add(channel),
                    $tile.point_stride,
                );
            }
        } else {
            let mut pixels = [[$vector::splat(0.0); $reach]; $reach];
            for channel in (0..$tile.channels).step_by($vector::LANES) {
                let from = $tile.from.wrapping_add(channel);
                for row in $tile.rows[0]..$tile.rows[1] {
                    for column in $tile.columns[0]..$tile.columns[1] {
                        let at = row * $tile.row_stride + column * $tile.pixel_stride;
                        pixels[row][column] = $vector::load(from.wrapping_add(at));
                    }
                }
                let (from, to) = (pixels.as_ptr().cast(), $tile.to.add(channel));
                $transform::<$vector>(from, $reach * $vector::LANES, $vector::LANES, to, $tile.point_stride);
            }
        }
    };
}
pub(super) use each_register;

/// Writes `input` by an `input_register`, and `output` by an `output_tile` that is told whether its tile is whole.
macro_rules! of_tiles {
    () => {
        /// Transforms an input tile: `B^T d B`.
        ///
        /// # Safety
        ///
        /// [`Vector`]'s contract; the pixels of `rows` and `columns` can be read, the points written, `channels` is a multiple of the lanes.
        #[inline(always)]
        pub(in crate::extractor::kernels) unsafe fn input<V: Vector>(tile: &Input) {
            // SAFETY: the caller's promise; of a tile that is not whole only the pixels in the map are read, and then those laid out there.
            unsafe { each_register!(V, tile, REACH, input_register) }
        }

        /// Transforms a tile of products back, `A^T m A`, and adds bias and ReLU.
        ///
        /// # Safety
        ///
        /// [`Vector`]'s contract; the points can be read, the pixels of `rows` and `columns` written, `width` is a multiple of the lanes.
        #[inline(always)]
        pub(in crate::extractor::kernels) unsafe fn output<V: Vector>(tile: &Output) {
            // SAFETY: the caller's promise.
            unsafe {
                if tile.rows == TILE && tile.columns == TILE {
                    output_tile::<V, true>(tile);
                } else {
                    output_tile::<V, false>(tile);
                }
            }
        }
    };
}
pub(super) use of_tiles;

/// Writes `input` and `output` of a method that transforms rows as it does columns, by its `input_1d` and `output_1d`: for the numbers `0..REACH`
/// of its points in a direction, and `0..TILE` of its outputs.
macro_rules! separable {
    ($points:tt, $outputs:tt) => {
        of_tiles!();

        /// Transforms one register of channels of a whole tile.
        ///
        /// # Safety
        ///
        /// [`Vector`]'s contract; the pixels can be read, the points written.
        #[inline(always)]
        unsafe fn input_register<V: Vector>(
            from: *const f32,
            row_stride: usize,
            pixel_stride: usize,
            to: *mut f32,
            point_stride: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                let half = each!($points, column => {
                    let from = from.wrapping_add(column * pixel_stride);
                    input_1d::<V>(each!($points, row => V::load(from.wrapping_add(row * row_stride))))
                });
                let _: [(); REACH] = each!($points, row => {
                    let points = input_1d::<V>(each!($points, column => half[column][row]));
                    let to = to.add(row * REACH * point_stride);
                    let _: [(); REACH] = each!($points, column => {
                        points[column].store_then(to.add(column * point_stride), LINE);
                    });
                });
            }
        }

        /// As [`output`]; a `WHOLE` tile has all its rows and columns.
        ///
        /// # Safety
        ///
        /// As that.
        #[inline(always)]
        unsafe fn output_tile<V: Vector, const WHOLE: bool>(tile: &Output) {
            for channel in (0..tile.width).step_by(V::LANES) {
                // SAFETY: pixels outside of the map are not written; the rest is the caller's promise.
                unsafe {
                    let from = tile.from.add(channel);
                    let bias = V::load(tile.bias.add(channel));
                    let floor = V::splat(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
                    let half = each!($points, column => output_1d::<V>(
                        each!($points, row => V::load(from.add((row * REACH + column) * tile.point_stride)))
                    ));
                    let _: [(); TILE] = each!($outputs, row => {
                        if WHOLE || row < tile.rows {
                            let pixels = output_1d::<V>(each!($points, column => half[column][row]));
                            let to = tile.to.wrapping_add(row * tile.row_stride + channel);
                            let _: [(); TILE] = each!($outputs, column => {
                                if WHOLE || column < tile.columns {
                                    let value = floor.max(pixels[column].add(bias));
                                    value.store_then(to.add(column * tile.pixel_stride), tile.width);
                                }
                            });
                        }
                    });
                }
            }
        }
    };
}
pub(super) use separable;
